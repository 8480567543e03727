from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.layout import check_layout, fullest_line
from calibration.marks import lines, marks
from tests.calibration.scene import PITCH, SIZE, clicked, places_in_view, truth
from touchline.errors import InputError


def refuse(places: list[tuple[float, float]], message: str) -> InputError:
    with pytest.raises(InputError, match=message) as caught:
        check_layout(clicked(truth(), places=places), PITCH)
    assert caught.value.hint
    return caught.value


def test_a_good_layout_passes():
    check_layout(clicked(truth()), PITCH)


def test_too_few_say_found_and_needed():
    places = places_in_view(truth())[:11]
    assert "click at least 1 more" in refuse(places, r"11 different landmarks, 12 needed \(POS-1\)").hint


def test_repeats_do_not_count():
    places = places_in_view(truth())[:8] * 2
    refuse(places, "8 different landmarks, 12 needed")


@pytest.mark.parametrize("off", [0, 1, 2])
def test_collinear_landmarks_are_refused(off):
    line = [(float(x), 68.0) for x in np.linspace(2, 50, 14)]
    others = [(16.5, 13.84), (52.5, 34.0)][:off]
    refuse(line + others, f"collinear: all landmarks{f' but {off}' if off else ''} lie on one straight line")


def test_almost_collinear_landmarks_are_refused():
    places = [(float(x), 40 + 0.4 * x + (0.3 if i % 2 else -0.3)) for i, x in enumerate(np.linspace(2, 50, 14))]
    refuse(places, "collinear")


def test_clustered_landmarks_are_refused():
    places = [(x, y) for x in (0.0, 2.0, 4.0, 5.5) for y in (24.84, 30.0, 36.0, 43.16)]
    refuse(places, "clustered: they span 1.4% of the pitch")


def test_clicks_clustered_in_the_image_are_refused():
    landmarks = clicked(truth())
    clicks = tuple(replace(c, px=(c.px[0] / 30, c.px[1] / 30)) for c in landmarks.clicks)
    with pytest.raises(InputError, match=r"the clicks are clustered: they span 0\.\d+% of the image"):
        check_layout(replace(landmarks, clicks=clicks), PITCH)


def test_the_fullest_line_is_found():
    places = np.array([(0, 0), (10, 0.1), (20, -0.1), (30, 0), (5, 30), (9, 20)], dtype=float)
    assert fullest_line(places).tolist() == [True] * 4 + [False] * 2


def test_marks_are_those_of_the_laws_of_the_game():
    found = marks(PITCH)
    assert found["left far penalty area corner"] == pytest.approx((16.5, 13.84))
    assert found["right near penalty area on the goal line"] == pytest.approx((105, 54.16))
    assert found["left near goal post"] == pytest.approx((0, 37.66))
    assert found["centre circle on the halfway line, far"] == pytest.approx((52.5, 24.85))
    places = np.array(list(found.values()))
    mirrored = places * (-1, 1) + (105, 0)
    assert all(np.hypot(*(places - place).T).min() < 1e-9 for place in mirrored), "both ends are alike"
    assert SIZE[0] > SIZE[1]


def test_lines_stay_on_the_pitch_and_are_fine_enough_to_bend():
    for line in lines(PITCH):
        assert (line >= -1e-9).all()
        assert (line <= np.array(PITCH) + 1e-9).all()
        assert np.hypot(*np.diff(line, axis=0).T).max() <= 0.51
