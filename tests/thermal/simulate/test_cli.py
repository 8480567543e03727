import json

import pytest
from click.testing import CliRunner

from thermal.cli import thermal
from thermal.record import read_record
from touchline.errors import GateError, InputError

MINE = {"about": "a minute", "ambient_c": 20, "phases": [{"name": "a", "seconds": 60, "load": 0.5}]}
HOT = {**MINE, "phases": [{"name": "a", "seconds": 1500, "load": 1}], "ambient_c": 24}


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"format": 1, "profiles": {"mine": MINE}}))
    return path


def call(*words: str):
    return CliRunner().invoke(thermal, list(words), catch_exceptions=True)


def test_the_list_names_the_profiles():
    done = call("simulate", "--list")
    assert done.exit_code == 0
    assert "double-header" in done.output and "min" in done.output
    assert "heat-38c" in json.loads(call("simulate", "--list", "--json").output)["profiles"]


def test_a_run_of_an_own_profile_with_picture_record_and_json(own, tmp_path):
    svg, record = tmp_path / "a.svg", tmp_path / "a.jsonl"
    words = ["simulate", "--profiles", str(own), "--profile", "mine", "--svg", str(svg), "--record", str(record)]
    done = call(*words, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["law"] == "ours" and document["figures"]["peak_c"] < 66.0
    assert svg.read_text().startswith("<svg") and document["svg"] == str(svg)
    found = read_record([record])
    assert len(found.entries) == 60 and found.damaged == 0
    text = call(*words).output
    assert "peak" in text and "clocks" in text and str(record) in text


def test_what_does_not_exist_is_named(own, tmp_path):
    done = call("simulate", "--profile", "moon")
    assert isinstance(done.exception, InputError) and "double-header" in done.exception.hint
    assert call("simulate", "--profiles", str(own), "--profile", "mine", "--svg", "a.png").exit_code == 2
    assert isinstance(call("simulate", "--profiles", str(tmp_path / "none.json")).exception, OSError)


def test_check_ends_with_8_where_the_full_fan_would_have_held(tmp_path):
    path = tmp_path / "hot.json"
    trouble = {"kind": "zone_offset", "at_s": 1, "for_s": 5000, "value": -30}
    path.write_text(json.dumps({"format": 1, "profiles": {"hot": HOT, "fooled": {**HOT, "troubles": [trouble]}}}))
    assert call("simulate", "--profiles", str(path), "--profile", "hot", "--check").exit_code == 0
    fooled = call("simulate", "--profiles", str(path), "--profile", "fooled", "--law", "line", "--check")
    assert isinstance(fooled.exception, GateError)
