import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.plant.profiles import FILE, MAX_BYTES, built_in, profile_of, read_profiles
from touchline.errors import InputError

WANTED = {"idle", "match", "double-header", "heat-32c", "heat-38c", "sun", "fan-failure", "sensor-loss"}


def test_the_profiles_of_the_issue_are_there_and_last_as_a_match_does():
    profiles = built_in()
    assert set(profiles) >= WANTED
    assert 4.0 * 3600 < profiles["double-header"].seconds < 6.0 * 3600
    lost = profiles["sensor-loss"].troubles[0]
    assert (lost.kind, lost.for_s) == ("zone_errno", 30.0)
    assert profiles["heat-38c-sun"].at(3000.0)[1].ambient_c == 38.0
    for profile in profiles.values():
        assert profile.about and all(0.0 <= phase.load <= 1.0 for phase in profile.phases)
        assert all(trouble.at_s < profile.seconds for trouble in profile.troubles)


def test_air_and_sun_go_in_a_line_and_the_last_phase_goes_on():
    profile = profile_of(
        "x",
        {
            "about": "x",
            "ambient_c": 10,
            "phases": [
                {"name": "a", "seconds": 100, "load": 0.5, "ambient_c": 20, "sun_w": 50},
                {"name": "b", "seconds": 10, "load": 1},
            ],
        },
    )
    phase, outside = profile.at(50.0)
    assert (phase.name, outside.ambient_c, outside.sun_w, outside.load) == ("a", 15.0, 25.0, 0.5)
    phase, outside = profile.at(1e6)
    assert (phase.name, outside.ambient_c, outside.sun_w) == ("b", 20.0, 50.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ambient_c": 90}, "ambient_c 90 must be -40 to 60"),
        ({"phases": []}, "phases"),
        ({"phases": [{"name": "a", "seconds": 0, "load": 1}]}, "seconds 0"),
        ({"phases": [{"name": "a", "seconds": 5, "load": 2}]}, "load 2"),
        ({"phases": [{"name": "a", "load": 1}]}, "'seconds' is missing"),
        ({"troubles": [{"kind": "fire", "at_s": 1, "for_s": 1}]}, "'fire' is no trouble"),
        ({"troubles": [{"kind": "fan_stalled", "at_s": 1, "for_s": 0}]}, "for_s 0"),
    ],
)
def test_a_profile_that_does_not_fit_is_named(change, said):
    document = {"about": "x", "ambient_c": 20, "phases": [{"name": "a", "seconds": 5, "load": 1}]}
    with pytest.raises(InputError) as caught:
        profile_of("mine", {**document, **change})
    assert "profile mine" in caught.value.message and said in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "profiles": {}}'])
def test_a_file_that_is_none(tmp_path, text):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(InputError):
        read_profiles(path)
    path.write_text(" " * (MAX_BYTES + 1))
    with pytest.raises(InputError, match="larger"):
        read_profiles(path)


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ("about", "ambient_c", "phases", "troubles", "name", "seconds", "load", "kind", "at_s")
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_a_profile_or_an_input_error(document):
    try:
        profile = profile_of("any", document if isinstance(document, dict) else {"phases": document})
    except InputError:
        return
    assert profile.seconds >= 1.0


def test_the_built_in_file_is_the_format_it_documents():
    assert json.loads(FILE.read_text())["format"] == 1
