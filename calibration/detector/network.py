"""The network: a plain residual net that looks at one stride-8 grid.  PyTorch; only training imports this.

People are 8 to 100 pixels tall in a 1280x720 view, so one grid at stride 8 carries all of them, fed from
strides 16 and 32 for context.  Every layer is a dense 3x3 or 1x1 convolution with ReLU and widths in
multiples of 16: that is what ONNX Runtime's blocked kernels (and a DLA) run without falling back.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE_PX = 8


@dataclass(frozen=True)
class Shape:
    """Widths and depths."""

    stem: int = 32
    s8: int = 32
    s16: int = 64
    s32: int = 128
    blocks: tuple[int, int, int] = (1, 3, 3)
    head: int = 32
    head_blocks: int = 2
    inner: int = 32
    """Width inside the stride-8 blocks."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(_bare(inputs, outputs, kernel, stride), nn.ReLU(inplace=True))


def _bare(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    pad = 1 if kernel == 6 else kernel // 2
    layer = nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs, momentum=0.03, eps=1e-3))


class Residual(nn.Module):  # type: ignore[misc]
    """Two 3x3 convolutions through a narrower middle, added to the input."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down = conv(width, inner)
        self.up = _bare(inner, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.up(self.down(x)))


class PeopleNet(nn.Module):  # type: ignore[misc]
    """Images (b, 3, h, w) in 0..1 to raw maps (b, 5, h/8, w/8): score logit, then left, top, right, bottom."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        s = self.shape = shape or Shape()
        self.stem = conv(3, s.stem, 6, 4)
        self.to8 = nn.Sequential(conv(s.stem, s.s8, 3, 2), *[Residual(s.s8, s.inner) for _ in range(s.blocks[0])])
        self.to16 = nn.Sequential(conv(s.s8, s.s16, 3, 2), *[Residual(s.s16, s.s16 // 2) for _ in range(s.blocks[1])])
        self.to32 = nn.Sequential(conv(s.s16, s.s32, 3, 2), *[Residual(s.s32, s.s32 // 2) for _ in range(s.blocks[2])])
        self.lift32, self.lift16 = _bare(s.s32, s.s16, 1), _bare(s.s16, s.head, 1)
        self.side8 = _bare(s.s8, s.head, 1)
        self.head = nn.Sequential(*[Residual(s.head, s.inner) for _ in range(s.head_blocks)])
        self.out = nn.Conv2d(s.head, 5, 1)
        nn.init.constant_(self.out.bias[:1], -4.6)  # 1 % of cells: the usual start of a focal loss
        nn.init.constant_(self.out.bias[1:], 0.5)

    def forward(self, images: Tensor) -> Tensor:
        at8 = self.to8(self.stem(images))
        at16 = self.to16(at8)
        at16 = functional.relu(at16 + _double(self.lift32(self.to32(at16))))
        at8 = functional.relu(self.side8(at8) + _double(self.lift16(at16)))
        maps: Tensor = self.out(self.head(at8))
        return maps


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def centres(height: int, width: int) -> Tensor:
    """Cell centres (height * width, 2) in input pixels."""
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([xs, ys], -1).reshape(-1, 2).float() + 0.5) * STRIDE_PX


def sides(raw: Tensor) -> Tensor:
    """Distances from a cell centre to the box sides, pixels; may be a little negative at a box edge."""
    return functional.softplus(raw) * (2 * STRIDE_PX) - STRIDE_PX / 2


def decode(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Raw maps to logits (b, A) and boxes (b, A, 4) in input pixels."""
    flat = maps.flatten(2).float()
    centre = centres(maps.shape[2], maps.shape[3]).to(maps.device)
    distance = sides(flat[:, 1:].transpose(1, 2))
    return flat[:, 0], torch.cat([centre - distance[..., :2], centre + distance[..., 2:]], -1)


class ExportNet(nn.Module):  # type: ignore[misc]
    """The network with its boxes decoded: images to (1, 5, A), YOLOv8 layout (cx, cy, w, h, score)."""

    def __init__(self, net: PeopleNet, height: int, width: int) -> None:
        super().__init__()
        self.net = net
        centre = centres(height // STRIDE_PX, width // STRIDE_PX)
        self.register_buffer("centre", centre.t()[None].contiguous())

    def forward(self, images: Tensor) -> Tensor:
        flat = self.net(images).flatten(2)
        distance = sides(flat[:, 1:])
        near, far = distance[:, :2], distance[:, 2:]
        middle = self.centre + (far - near) / 2
        return torch.cat([middle, near + far, torch.sigmoid(flat[:, :1])], 1)
