"""Train the people detector: ``python -m calibration.detector.train --help``.

Needs PyTorch (``pip install touchline[train]``); two CPU cores are enough.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from calibration.detector.augment import Crop, random_crop
from calibration.detector.dataset import Scene, frame_span, generated_scene, real_scene
from calibration.detector.export import export_onnx
from calibration.detector.loss import Targets, detection_loss
from calibration.detector.network import PeopleNet, Shape
from touchline.errors import TouchlineError
from touchline.timeline import monotonic_ns

CROP_PX = (448, 320)
GROUP = 4
"""Crops a worker hands over at once."""


class CropStream(IterableDataset):  # type: ignore[misc]
    """An endless stream of crops; each worker draws from its own seeded generator."""

    def __init__(self, scenes: list[Scene], shares: list[float], seed: int, wild_share: float) -> None:
        self.scenes, self.seed, self.wild_share = scenes, seed, wild_share
        self.shares = np.array(shares) / np.sum(shares)

    def __iter__(self) -> Iterator[list[Crop]]:
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0])
        while True:
            picks = rng.choice(len(self.scenes), size=GROUP, p=self.shares)
            yield [random_crop(rng, self.scenes[pick], CROP_PX, self.wild_share) for pick in picks]


def collate(groups: list[list[Crop]]) -> tuple[torch.Tensor, Targets]:
    """Stack crops to images uint8 (b, 3, h, w) and padded targets."""
    crops = [crop for group in groups for crop in group]
    images = torch.from_numpy(np.stack([crop.image for crop in crops])).permute(0, 3, 1, 2)
    most = max(1, *(len(crop.boxes) for crop in crops))
    most_unsure = max(1, *(len(crop.unsure) for crop in crops))
    boxes, trust = torch.zeros(len(crops), most, 4), torch.zeros(len(crops), most)
    unsure = torch.zeros(len(crops), most_unsure, 4)
    for row, crop in enumerate(crops):
        boxes[row, : len(crop.boxes)] = torch.from_numpy(crop.boxes)
        trust[row, : len(crop.boxes)] = torch.from_numpy(crop.trust)
        unsure[row, : len(crop.unsure)] = torch.from_numpy(crop.unsure)
    return images, Targets(boxes, trust, unsure)


def rate_at(step: int, share: float, peak: float) -> float:
    """One cycle: a linear rise over 200 steps, then a cosine down to 1 % of the peak at ``share`` 1."""
    fall = 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * min(max(share, 0.0), 1.0))))
    return peak * fall * min(1.0, (step + 1) / 200)


class Average:
    """Exponential mean of a network's weights, slower as training goes on."""

    def __init__(self, net: PeopleNet) -> None:
        self.net = PeopleNet(net.shape)
        self.net.load_state_dict(net.state_dict())
        self.net.eval()

    def take(self, net: PeopleNet, step: int) -> None:
        """Move the mean towards the network as it is after ``step``."""
        keep = min(0.9985, (step + 1) / (step + 20))
        for mine, new in zip(self.net.state_dict().values(), net.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.mul_(keep).add_(new.detach(), alpha=1 - keep)
            else:
                mine.copy_(new)


class Run:
    """Network, its mean, optimiser, and how far the training is; saved to and resumed from one file."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.net = PeopleNet(Shape()).to(memory_format=torch.channels_last)
        self.average = Average(self.net)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=options.rate, weight_decay=0.02)
        self.step, self.spent_s = 0, 0.0
        self.path: Path = options.out.with_suffix(".checkpoint.pt")
        if self.path.exists() and not options.fresh:
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.net.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.spent_s = int(state["step"]), float(state["spent_s"])
        say(f"resuming {self.path} at step {self.step}")

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        partial = self.path.with_suffix(".part")
        state = {
            "net": self.net.state_dict(),
            "average": self.average.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "spent_s": self.spent_s,
        }
        torch.save(state, partial)
        partial.replace(self.path)


def train(options: argparse.Namespace, scenes: list[Scene], shares: list[float]) -> PeopleNet:
    """Train until the steps, or the minutes, are used up; the averaged network."""
    run = Run(options)
    loader = DataLoader(
        CropStream(scenes, shares, options.seed + run.step, options.wild_share),
        batch_size=options.batch // GROUP,
        num_workers=options.workers,
        collate_fn=collate,
        multiprocessing_context="fork" if options.workers else None,  # workers share the frames' memory
    )
    run.net.train()
    clock_s, sums = monotonic_ns() / 1e9, np.zeros(3)
    for images, targets in loader:
        done = run.spent_s / (options.minutes * 60) if options.minutes else run.step / options.steps
        if done >= 1:
            break
        for group in run.optimiser.param_groups:
            group["lr"] = rate_at(run.step, done, options.rate)
        terms = one_step(run.net, run.optimiser, images, targets)
        run.average.take(run.net, run.step)
        run.step += 1
        now_s = monotonic_ns() / 1e9
        sums += [float(terms["score"]), float(terms["box"]), now_s - clock_s]
        run.spent_s, clock_s = run.spent_s + now_s - clock_s, now_s
        if run.step % 100 == 0:
            say(
                f"step {run.step}  {done:.1%}  score {sums[0] / 100:.4f}  box {sums[1] / 100:.4f}"
                f"  {100 * options.batch / sums[2]:.0f} crops/s"
            )
            sums[:] = 0
        if run.step % 200 == 0:
            run.save()
    run.save()
    return run.average.net


def one_step(
    net: PeopleNet, optimiser: torch.optim.Optimizer, images: torch.Tensor, targets: Targets
) -> dict[str, torch.Tensor]:
    """One optimiser step in bfloat16 arithmetic; the loss terms."""
    inputs = images.to(memory_format=torch.channels_last).float() / 255
    with torch.autocast("cpu", torch.bfloat16):
        maps = net(inputs)
    terms = detection_loss(maps.float(), targets)
    optimiser.zero_grad(set_to_none=True)
    terms["total"].backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
    optimiser.step()
    return terms


def say(line: str) -> None:
    """Progress goes to standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the people detector and write it as ONNX.")
    parser.add_argument("--video", type=Path, required=True, help="labelled video, fixed camera")
    parser.add_argument("--boxes", type=Path, required=True, help="frame,x1,y1,x2,y2,score of that video")
    parser.add_argument("--frames", default="0:199", help="A:B, both included (default 0:199)")
    parser.add_argument(
        "--generated", type=Path, action="append", default=[], metavar="DIR", help="generated frames; repeatable"
    )
    parser.add_argument("--generated-share", type=float, default=0.4, help="share of crops from them")
    parser.add_argument("--wild-share", type=float, default=1.0, help="share of crops pasted and distorted")
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write; checkpoint beside it")
    parser.add_argument("--steps", type=int, default=9000, help="optimiser steps (default 9000)")
    parser.add_argument("--minutes", type=float, help="train so long instead, however many steps that makes")
    parser.add_argument("--batch", type=int, default=24, help=f"crops per step, a multiple of {GROUP}")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare crops")
    parser.add_argument("--threads", type=int, default=2, help="threads of the arithmetic")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="do not resume from the checkpoint")
    return parser.parse_args(argv)


def load_scenes(options: argparse.Namespace) -> tuple[list[Scene], list[float]]:
    """All scenes and the share of crops that each gives."""
    first, end = frame_span(options.frames)
    real = real_scene(options.video, options.boxes, first, end)
    say(f"{real.name}: {len(real.frames)} frames, {len(real.people)} cut-out people")
    generated = [generated_scene(folder) for folder in options.generated]
    for scene in generated:  # real people on generated grass: the best of both
        scene.people, scene.people_scale = real.people, real.work_scale / scene.work_scale
    share = options.generated_share if generated else 0.0
    shares = [1 - share] + [share / len(generated) for _ in generated]
    return [real, *generated], shares


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)  # a thread pool would not survive the fork of the workers
    try:
        scenes, shares = load_scenes(options)
        net = train(options, scenes, shares)
        export_onnx(net, options.out)
    except TouchlineError as error:
        say(f"error: {error}")
        return error.exit_code
    say(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
