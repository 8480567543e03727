"""Which cells answer for which person, and what a wrong answer costs.  PyTorch; only training imports this.

Task-aligned assignment (a cell is a good answer when its score and its box are both good) with soft targets,
a quality focal loss for the score, and complete-IoU plus a relative side error for the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from calibration.detector.network import STRIDE_PX, centres, decode

TOP_CELLS = 6
SCORE_POWER, OVERLAP_POWER = 0.5, 4.0
BOX_WEIGHT, SIDE_WEIGHT = 2.0, 0.5
SMALL = 1e-7


@dataclass(frozen=True)
class Targets:
    """People of a batch, padded: boxes (b, m, 4) pixels, trust (b, m) 0..1 and 0 where nobody is.

    ``unsure`` (b, k, 4) holds areas without a verdict, padded with zeros.
    """

    boxes: Tensor
    trust: Tensor
    unsure: Tensor


def pair_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of broadcastable boxes (..., 4)."""
    common = _overlap(a, b)
    return common / (_area(a) + _area(b) - common + SMALL)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    size = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    return size[..., 0] * size[..., 1]


def _area(box: Tensor) -> Tensor:
    size = (box[..., 2:] - box[..., :2]).clamp(min=0)
    return size[..., 0] * size[..., 1]


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU (overlap, centre distance, aspect) of boxes (n, 4)."""
    iou = pair_iou(a, b)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    reach = hull.square().sum(1) + SMALL
    offset = ((a[:, :2] + a[:, 2:]) - (b[:, :2] + b[:, 2:])).square().sum(1) / 4
    wa, wb = (a[:, 2:] - a[:, :2]).clamp(min=SMALL), (b[:, 2:] - b[:, :2]).clamp(min=SMALL)
    aspect = 0.405 * (torch.atan(wa[:, 0] / wa[:, 1]) - torch.atan(wb[:, 0] / wb[:, 1])).square()
    with torch.no_grad():
        share = aspect / (1 - iou + aspect + SMALL)
    return iou - offset / reach - share * aspect


def assign(scores: Tensor, boxes: Tensor, targets: Targets, centre: Tensor) -> tuple[Tensor, Tensor]:
    """For each cell the number of its person (-1 none) and its target score: (b, A) each."""
    people = targets.boxes
    iou = pair_iou(boxes[:, None], people[:, :, None])  # (b, m, A)
    reach = torch.maximum((people[..., 2:] - people[..., :2]) / 2, torch.tensor(0.8 * STRIDE_PX))
    middle = (people[..., :2] + people[..., 2:]) / 2
    near = ((centre[None, None] - middle[:, :, None]).abs() < reach[:, :, None]).all(-1)
    near &= (targets.trust > 0)[..., None]
    quality = scores[:, None].pow(SCORE_POWER) * iou.pow(OVERLAP_POWER) * near
    closeness = 1e-9 / (1 + (centre[None, None] - middle[:, :, None]).square().sum(-1)) * near
    rank = quality + closeness  # before the boxes are any good, the nearest cells answer
    cut = rank.topk(min(TOP_CELLS, rank.shape[-1]), dim=-1).values[..., -1:]
    chosen = near & (rank >= cut) & (rank > 0)
    rank = torch.where(chosen, rank, torch.zeros_like(rank))
    best, owner = rank.max(1)
    taken = best > 0
    mine = torch.zeros_like(chosen).scatter_(1, owner[:, None], taken[:, None])
    quality = quality * mine
    top_quality = quality.amax(-1, keepdim=True)
    top_iou = (iou * mine).amax(-1, keepdim=True)
    goal = (quality / (top_quality + 1e-12) * top_iou * targets.trust[..., None]).amax(1)
    return torch.where(taken, owner, torch.full_like(owner, -1)), goal


def detection_loss(maps: Tensor, targets: Targets) -> dict[str, Tensor]:
    """Loss terms of raw maps (b, 5, h, w): ``total``, and its parts ``score`` and ``box``."""
    logits, boxes = decode(maps)
    scores = logits.sigmoid()
    centre = centres(maps.shape[2], maps.shape[3])
    with torch.no_grad():
        owner, goal = assign(scores.detach(), boxes.detach(), targets, centre)
    taken = owner >= 0
    hidden = _inside(centre, targets.unsure) & ~taken
    error = functional.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    weight = torch.where(taken, (goal - scores.detach()).abs().clamp(min=0.05), scores.detach().square())
    weight = torch.where(hidden, torch.zeros_like(weight), weight)
    count = goal.sum().clamp(min=4.0)
    score = (error * weight).sum() / count
    box = boxes.sum() * 0
    if taken.any():
        batch, cell = taken.nonzero(as_tuple=True)
        wanted, got = targets.boxes[batch, owner[batch, cell]], boxes[batch, cell]
        share = goal[batch, cell].clamp(min=0.1)
        size = (wanted[:, 2:] - wanted[:, :2]).clamp(min=4.0).repeat(1, 2)
        side = functional.smooth_l1_loss(got / size, wanted / size, beta=0.1, reduction="none").sum(1)
        box = (share * (BOX_WEIGHT * (1 - complete_iou(got, wanted)) + SIDE_WEIGHT * side)).sum() / count
    return {"total": score * 2 + box, "score": score.detach(), "box": box.detach()}


def _inside(centre: Tensor, areas: Tensor) -> Tensor:
    """Cells (b, A) whose centre lies in one of the areas (b, k, 4), grown by half a cell."""
    grow = STRIDE_PX / 2
    point = centre[None, None]
    low, high = areas[:, :, None, :2] - grow, areas[:, :, None, 2:] + grow
    real = (areas[..., 2] > areas[..., 0])[..., None]
    return ((point > low) & (point < high)).all(-1).logical_and(real).any(1)
