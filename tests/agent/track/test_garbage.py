"""Whatever comes in, the tracker stays whole: unique ids, symmetric positive covariances, no exception."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent.track import Located, Tracker
from tests.agent.track.scenes import located
from touchline.config import TrackSection

WILD = st.floats(width=32, allow_nan=True, allow_infinity=True)
TAME = st.floats(-50.0, 150.0, width=32)


@st.composite
def frames(draw: st.DrawFn) -> Located:
    """A few detections whose every number may be anything."""
    count = draw(st.integers(0, 6))
    number = WILD if draw(st.booleans()) else TAME

    def some(*shape: int) -> npt.NDArray[np.float64]:
        return draw(arrays(np.float64, shape, elements=number))

    cov = some(count, 2, 2)
    if draw(st.booleans()):
        cov = np.tile(np.eye(2) * 0.01, (count, 1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        boxes = some(count, 4).astype(np.float32)
    if draw(st.booleans()):
        boxes[:, 2:] = boxes[:, :2] + 30.0
    return Located(
        boxes,
        draw(arrays(np.float32, count, elements=st.one_of(WILD, st.floats(0.0, 1.0, width=32)))),
        draw(arrays(np.int64, count, elements=st.integers(-(2**40), 2**40))),
        some(count, 2),
        cov,
        some(count),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.floats(0.001, 0.3), st.floats()), frames()), max_size=12))
def test_garbage_never_breaks_the_tracker(steps: list[tuple[float, Located]]) -> None:
    tracker = Tracker(TrackSection(confirm_hits=1))
    time_s, known = 0.0, 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step_s, found in steps:
            with np.errstate(all="raise", under="ignore"):
                tracks = tracker.update(time_s + step_s, found)
            if 0.0 < step_s <= 1.5:
                time_s += step_s
            check(tracker, tracks.ids, tracks.motion_cov)
            assert np.isfinite(tracks.xy_m).all() and np.isfinite(tracks.height_m).all()
            assert np.isfinite(tracks.v_mps).all() and np.isfinite(tracks.a_mps2).all()
            index = tracks.detection_index[~tracks.predicted]
            assert len(np.unique(index)) == len(index) and (index < len(found)).all() and (index >= 0).all()
            fresh = tracks.ids[tracks.ids > known]
            known = max(known, *fresh.tolist()) if len(fresh) else known


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([5.0, 25.0, 120.0]), st.booleans())
def test_a_busy_pitch_keeps_every_invariant(seed: int, rate_hz: float, anisotropic: bool) -> None:
    rng = np.random.default_rng(seed)
    people = 15
    place, speed = rng.uniform(0.0, 40.0, (people, 2)), rng.normal(0.0, 3.0, (people, 2))
    tracker = Tracker()
    born: list[int] = []
    for frame in range(60):
        place += speed / rate_hz
        seen = place[rng.random(people) < 0.85]
        turn = rng.uniform(0.0, np.pi, len(seen))
        axes = np.stack((np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)), axis=1).reshape(-1, 2, 2)
        spread = np.diag([1e-4, 1.0]) if anisotropic else np.eye(2) * 0.01
        cov = axes @ spread @ axes.transpose(0, 2, 1)
        found = located(seen, cov_m2=cov, scores=rng.uniform(0.0, 1.0, len(seen)))
        tracks = tracker.update(frame / rate_hz, found)
        check(tracker, tracks.ids, tracks.motion_cov)
        for identity in np.sort(tracks.ids).tolist():
            if identity not in born:
                assert identity > max(born, default=0)
                born.append(identity)


def check(tracker: Tracker, ids: npt.NDArray[np.int64], cov: npt.NDArray[np.float64]) -> None:
    """Ids positive and unique; covariances symmetric to the last bit and positive."""
    assert len(np.unique(ids)) == len(ids) and (ids > 0).all()
    assert len(ids) <= tracker.config.max_tracks
    assert np.isfinite(cov).all()
    np.testing.assert_allclose(cov, cov.transpose(0, 2, 1), rtol=1e-9, atol=1e-12)
    scale = np.sqrt(np.einsum("nii->ni", cov))
    assert (np.linalg.eigvalsh(cov / (scale[:, :, None] * scale[:, None, :])) > -1e-9).all()
