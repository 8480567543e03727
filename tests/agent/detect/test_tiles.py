"""Tiles cover the frame; people cut by their borders come out whole and once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.detect.build import open_detector
from agent.detect.tiles import Tile, TiledDetector, cover, cut_boxes, merge
from agent.detect.types import Detections
from tests.agent.detect.stand_in import square_frame

lengths = st.integers(1, 4000)


@given(st.tuples(lengths, lengths), st.tuples(st.integers(32, 1500), st.integers(32, 1500)), st.integers(0, 300))
def test_tiles_cover_the_frame_with_the_overlap(frame, tile, overlap):
    overlap = min(overlap, min(tile) // 2)
    tiles = cover(frame, tile, overlap)
    for axis in (0, 1):
        starts = sorted({(t.x, t.y)[axis] for t in tiles})
        length = (tiles[0].width, tiles[0].height)[axis]
        assert length == min(frame[axis], tile[axis])
        assert starts[0] == 0 and starts[-1] + length == frame[axis]
        assert all(after - before <= length - overlap for before, after in pairwise(starts))
    assert len(tiles) == len({(t.x, t.y) for t in tiles})


def test_the_stadium_frame_needs_nine_tiles():
    tiles = cover((3072, 1728), (1280, 736))
    assert len(tiles) == 9 and tiles[0] == Tile(0, 0, 1280, 736) and tiles[-1] == Tile(1792, 992, 1280, 736)


def detections(*rows: tuple[float, ...]) -> Detections:
    data = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(data[:, :4], data[:, 4], np.zeros(len(data), np.int64))


def test_only_inner_borders_cut():
    boxes = np.array([[0, 0, 9, 9], [90, 10, 100, 20], [10, 50, 20, 60], [140, 10, 150, 20]], np.float32)
    assert cut_boxes(boxes[:3], Tile(0, 0, 100, 60), (150, 60)).tolist() == [False, True, False]
    assert cut_boxes(boxes[1:], Tile(90, 0, 60, 60), (150, 60)).tolist() == [True, True, False]


def test_a_whole_box_absorbs_a_better_fragment():
    found = detections((80, 10, 100, 60, 0.95), (80, 10, 120, 60, 0.6))
    merged = merge(found, np.array([0, 1]), np.array([True, False]), 0.41)
    assert merged.boxes.tolist() == [[80, 10, 120, 60]]


def test_two_fragments_of_a_large_person_are_joined():
    found = detections((50, 10, 100, 60, 0.9), (60, 10, 130, 60, 0.8))
    merged = merge(found, np.array([0, 1]), np.array([True, True]), 0.41)
    assert merged.boxes.tolist() == [[50, 10, 130, 60]]


def test_neighbours_and_lone_fragments_stay():
    found = detections((50, 10, 70, 60, 0.9), (72, 10, 92, 60, 0.8), (300, 10, 310, 60, 0.7))
    assert len(merge(found, np.array([0, 1, 1]), np.array([False, False, True]), 0.41)) == 3


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 12), st.randoms(use_true_random=False))
def test_merging_never_invents_and_never_keeps_twins(count, random):
    corners = np.array([(random.uniform(0, 80), random.uniform(0, 80)) for _ in range(count)]).reshape(-1, 2)
    sides = np.array([(random.uniform(1, 40), random.uniform(1, 40)) for _ in range(count)]).reshape(-1, 2)
    rows = np.hstack([corners, corners + sides, np.array([[random.random()] for _ in range(count)]).reshape(-1, 1)])
    found = detections(*rows.tolist())
    cut = np.array([random.random() < 0.5 for _ in range(count)], bool)
    tile = np.array([random.randrange(3) for _ in range(count)], np.int64)
    merged = merge(found, tile, cut, 0.41).validate()
    assert len(merged) <= count and (len(merged) > 0) == (count > 0)
    again = merge(merged, np.zeros(len(merged), np.int64), np.zeros(len(merged), bool), 0.41)
    assert len(again) == len(merged)


def test_a_frame_larger_than_the_input_is_seen_at_its_own_resolution(square_model: Path):
    detector = TiledDetector(open_detector(square_model, threads=1), overlap_px=64)
    frame = np.full((700, 1500, 3), (10, 60, 10), np.uint8)
    corners = [(64, 32), (1000, 600), (608, 320)]
    for x, y in corners:
        frame[y : y + 32, x : x + 32] = (255, 0, 0)
    found = detector.detect(frame).validate()
    assert len(detector.tiles((1500, 700))) == 6
    for x, y in corners:  # cells of a tile lie elsewhere than the square: near is enough
        distance = np.abs(found.boxes - np.array([x, y, x + 32, y + 32])).max(axis=1)
        assert distance.min() <= 17
    assert detector.timings.infer_ms > 0 and detector.non_finite == 0 and detector.info.classes == ("square",)


def test_a_frame_of_the_tile_size_gives_what_the_plain_detector_gives(square_model: Path):
    plain = open_detector(square_model, threads=1)
    frame = square_frame(4, 640, 360)
    assert np.array_equal(TiledDetector(plain).detect(frame).boxes, plain.detect(frame).boxes)
