"""Recordings read back and joined: torn, damaged, mirrored, of encoders set up differently; and the commands."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.record.boxes import BoxError, make, walk
from agent.record.check import check
from agent.record.cli import recording
from agent.record.command import Coding
from agent.record.fragment import Fragment, Mark
from agent.record.inits import merge, parameter_sets, with_duration
from agent.record.join import Joined, join
from agent.record.lanes import CLOCK_STEPPED, NO_KEY_FRAME, RUNS_OVERLAP, in_order, lanes_of, most_that_rise
from agent.record.media import times_of
from agent.record.read import read_recording, recordings_in
from agent.record.stream import FragmentStream, Init, Raw
from tests.agent.record.helpers import HEAD, PERIOD_US, PTP_NS, encode, file_of, fragment, start
from touchline.errors import GateError, InputError
from touchline.timeline import ClockState

COUNT = 60
SMALL = replace(HEAD, width_px=64, height_px=64)


@functools.cache
def coded(coding: Coding = Coding(preset="ultrafast")) -> tuple[bytes, tuple[Raw, ...]]:  # noqa: B008 - frozen
    """(init, fragments) of real pictures, 20 ms apart, a key frame every fifteen."""
    items = list(FragmentStream().feed(encode([number * PERIOD_US for number in range(COUNT)], coding)))
    assert isinstance(items[0], Init)
    return items[0].data, tuple(one for one in items[1:] if isinstance(one, Raw))


def real_file(
    node: str,
    first: int,
    last: int,
    *,
    phase: int = 0,
    role: tuple[bool, int] = (True, 5),
    coding: Coding | None = None,
    offset_ns: int = 0,
    stream: str = "",
) -> bytes:
    """A node's recording of the exposures ``first`` to ``last``; its key frames lie at ``phase`` + 15 n."""
    init, raws = coded() if coding is None else coded(coding)
    head = replace(SMALL, node=node, stream=stream or (node[-1].encode().hex() * 16)[:32])
    fragments = []
    for exposure in range(first, last + 1):
        raw = raws[(exposure - phase) % COUNT]
        moof = replace(raw.moof, media_us=(exposure - first) * PERIOD_US)
        mark = Mark(PTP_NS + exposure * PERIOD_US * 1000 + offset_ns, exposure, 250, 1, ClockState.LOCKED)
        fragments.append(Fragment(exposure, *role, (mark,), moof, raw.data))
    return init + head.to_bytes() + b"".join(one.to_bytes() for one in fragments)


@pytest.fixture
def both(tmp_path):
    """node-a dies at exposure 40, node-b goes on; its key frames lie elsewhere."""
    a, b = tmp_path / "a" / "x.mp4", tmp_path / "b" / "y.mp4"
    a.parent.mkdir()
    b.parent.mkdir()
    a.write_bytes(real_file("node-a", 0, 40))
    b.write_bytes(real_file("node-b", 0, 58, phase=7, role=(False, 0), offset_ns=300)[:])
    return a, b


# --- reading ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10**6))
def test_whatever_is_torn_off_the_whole_fragments_are_read(tmp_path_factory, cut):
    fragments = [fragment(number) for number in range(20)]
    data = file_of(fragments)
    path = tmp_path_factory.mktemp("torn") / "x.mp4"
    path.write_bytes(data[: cut % (len(data) + 1)])
    found = read_recording(path)
    ends = [len(file_of(fragments[: n + 1])) for n in range(20)]
    whole = sum(end <= path.stat().st_size for end in ends)
    assert (0 if found is None else len(found.frames)) == whole
    if found is not None:
        assert found.torn_bytes == path.stat().st_size - ends[whole - 1]
        assert found.damaged_bytes == 0


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10**6), value=st.binary(min_size=1, max_size=300))
def test_damage_in_the_middle_costs_what_it_hit(tmp_path_factory, at, value):
    fragments = [fragment(number) for number in range(30)]
    data = bytearray(file_of(fragments))
    begin = len(start()) + len(HEAD.to_bytes())
    at = begin + at % (len(data) - begin)
    data[at : at + len(value)] = value[: len(data) - at]
    path = tmp_path_factory.mktemp("bad") / "x.mp4"
    path.write_bytes(data)
    found = read_recording(path)
    assert found is not None
    sizes = [len(one.to_bytes()) for one in fragments]
    hit = sum(begin + sum(sizes[:n]) < at + len(value) and at < begin + sum(sizes[: n + 1]) for n in range(len(sizes)))
    assert len(found.frames) >= 30 - hit - 1
    known = {(PTP_NS + n * PERIOD_US * 1000, n) for n in range(30)}
    assert {(int(row["ptp_ns"]), int(row["sequence"])) for row in found.frames} <= known


@given(data=st.binary(max_size=400))
def test_any_file_is_a_recording_or_an_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "x.mp4"
    path.write_bytes(data)
    try:
        assert read_recording(path) is None
    except InputError as error:
        assert str(path) in error.message


def test_a_mirror_and_its_original_are_one_lane(tmp_path):
    (tmp_path / "own.mp4").write_bytes(file_of([fragment(n) for n in range(20)]))
    (tmp_path / "mirror.mp4").write_bytes(file_of([fragment(n) for n in range(15, 40)]))
    found = [read_recording(path, n) for n, path in enumerate(recordings_in([tmp_path]))]
    (lane,) = lanes_of([one for one in found if one is not None])
    assert lane.frames["number"].tolist() == list(range(40))
    assert lane.follows.tolist() == [False] + [True] * 39
    assert lane.copies == 5 and lane.left_out == ()


def test_a_missing_fragment_breaks_the_lane(tmp_path):
    path = tmp_path / "x.mp4"
    path.write_bytes(file_of([fragment(n) for n in range(20) if n != 7]))
    found = read_recording(path)
    assert found is not None
    (lane,) = lanes_of([found])
    assert [n for n, follows in zip(lane.frames["number"].tolist(), lane.follows, strict=True) if not follows] == [0, 8]


def test_pictures_from_before_the_clock_was_set_back_are_counted_not_mixed(tmp_path):
    path = tmp_path / "x.mp4"
    fragments = [fragment(n) for n in range(10)]
    back = replace(fragment(10), marks=(replace(fragment(10).marks[0], ptp_ns=PTP_NS + 5),))
    path.write_bytes(file_of([*fragments, back, fragment(11)]))
    found = read_recording(path)
    assert found is not None
    (lane,) = lanes_of([found])
    (left_out,) = lane.left_out
    assert (len(lane.frames), len(left_out.frames), left_out.reason) == (11, 1, CLOCK_STEPPED)
    assert not lane.follows[10]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=9).map(np.array))
def test_times_rise_and_no_longer_row_of_them_does(times):
    def rise(row: Sequence[int]) -> bool:
        return all(before < after for before, after in itertools.pairwise(row))

    kept = times[most_that_rise(times.astype(np.int64))].tolist()
    assert rise(kept)
    assert not any(rise(row) for row in itertools.combinations(times.tolist(), len(kept) + 1))


# --- joining ---------------------------------------------------------------------------------------------------------


def test_a_dead_node_and_its_twin_make_one_recording(both, tmp_path):
    a, b = both
    a.write_bytes(a.read_bytes()[:-20])  # torn in its last fragment: 39 is the last whole one
    out = tmp_path / "match.mp4"
    joined = join([a.parent, b.parent], out)
    assert joined.frames == 59 and joined.gaps == ()
    assert [(one["node"], one["frames"]) for one in joined.pieces] == [("node-a", 37), ("node-b", 22)]
    assert joined.switch_steps_ms == (20.0003,)
    found = check(out)
    assert found["good"] and found["decoded"] == 59 and found["complaint_count"] == 0
    assert found["step_max_ms"] <= 20.001 and found["key_distance_max"] <= 15
    assert found["ptp"]["pts_error_max_us"] <= 0.5
    assert next(one for one in joined.sources if one["node"] == "node-a")["torn_bytes"] > 0


def test_the_joined_file_can_be_read_like_any_and_knows_where_it_came_from(both, tmp_path):
    joined = join(both, tmp_path / "m.mp4")
    found = read_recording(tmp_path / "m.mp4")
    assert found is not None and found.head.node == "node-a+node-b"
    assert [piece["node"] for piece in found.head.pieces] == ["node-a", "node-b"]
    assert len(found.frames) == joined.frames
    assert found.torn_bytes == found.damaged_bytes == 0


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_encoders_set_up_differently_bring_their_parameters_with_each_key_frame(tmp_path, codec):
    one, other = Coding(codec=codec, preset="ultrafast"), Coding(codec=codec, preset="veryfast", crf=30)
    assert coded(other)[0] != coded(one)[0]
    (tmp_path / "a.mp4").write_bytes(real_file("node-a", 0, 40, coding=one))
    (tmp_path / "b.mp4").write_bytes(real_file("node-b", 30, 58, phase=30, coding=other, role=(True, 6)))
    join([tmp_path / "a.mp4", tmp_path / "b.mp4"], tmp_path / "m.mp4")
    found = check(tmp_path / "m.mp4")
    assert found["good"] and found["decoded"] == 59
    assert join([tmp_path / "m.mp4"], tmp_path / "again.mp4").frames == 59  # what is joined can be joined again
    assert check(tmp_path / "again.mp4")["good"]


def test_hevc_is_joined_too(tmp_path):
    coding = Coding(codec="hevc", preset="ultrafast")
    for node, first, last, phase in (("node-a", 0, 40, 0), ("node-b", 20, 58, 5)):
        data = real_file(node, first, last, phase=phase, coding=coding)
        (tmp_path / f"{node}.mp4").write_bytes(data.replace(b'"codec":"h264"', b'"codec":"hevc"', 1))
    joined = join([tmp_path], tmp_path / "out" / ".." / "m.mp4") if (tmp_path / "out").mkdir() is None else None
    assert joined is not None and joined.frames == 59
    assert check(tmp_path / "m.mp4")["good"]


YEAR_NS = 365 * 24 * 3_600_000_000_000


def clocked_file(ahead_ns: Sequence[int], stream: str = "aa" * 16, node: str = "node-a") -> bytes:
    """One run of an encoder, a key frame every fifteen; how wrong the clock was at each picture."""
    init, raws = coded()
    marks = [
        Mark(PTP_NS + n * PERIOD_US * 1000 + ahead, n, 250, 1, ClockState.LOCKED) for n, ahead in enumerate(ahead_ns)
    ]
    fragments = [
        Fragment(n, True, 5, (mark,), replace(raws[n % COUNT].moof, media_us=n * PERIOD_US), raws[n % COUNT].data)
        for n, mark in enumerate(marks)
    ]
    return init + replace(SMALL, node=node, stream=stream).to_bytes() + b"".join(one.to_bytes() for one in fragments)


def balanced(joined: Joined) -> bool:
    """Whether every picture that was read is in the ledger."""
    shown = joined.frames + joined.overlap_frames + joined.copied_frames
    return joined.read_frames == shown + joined.lost_frames


def test_a_clock_that_was_years_ahead_for_a_moment_costs_that_moment_and_it_is_told(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(clocked_file([0] * 20 + [10 * YEAR_NS] * 10 + [0] * 90))
    joined = join([path], tmp_path / "m.mp4")
    assert joined.frames == 110 and balanced(joined)
    (lost,) = joined.lost
    assert (lost["node"], lost["reason"], lost["frames"]) == ("node-a", CLOCK_STEPPED, 10)
    assert lost["from_ptp_ns"] == PTP_NS + 20 * PERIOD_US * 1000 + 10 * YEAR_NS and lost["files"] == [str(path)]
    assert [gap["frames_missing"] for gap in joined.gaps] == [10]
    assert check(tmp_path / "m.mp4", 250.0)["good"]


def test_runs_of_one_node_that_overlap_are_told(tmp_path):
    """The clock was ten pictures ahead, was set, and the recorder began anew."""
    (tmp_path / "1.mp4").write_bytes(clocked_file([10 * PERIOD_US * 1000] * 60))
    (tmp_path / "2.mp4").write_bytes(clocked_file([55 * PERIOD_US * 1000] * 60, stream="bb" * 16))
    joined = join([tmp_path], tmp_path / "m.mp4")
    assert joined.lost_frames == 15 and joined.frames == 105 and balanced(joined)
    assert {lost["reason"] for lost in joined.lost} == {RUNS_OVERLAP}
    assert check(tmp_path / "m.mp4")["good"]


def numbered(folder: Path, number: int, run: int, *, ahead_ns: int = 0, pictures: int = 60) -> None:
    """A run of the encoder under the recorder's name for it: ``number`` counts the files of this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    data = clocked_file([run * 60 * PERIOD_US * 1000 + ahead_ns] * pictures, stream=f"{run:02x}" * 16)
    (folder / f"node-a_cam1_{number:08d}_20261121T100000.123456Z_{run:08x}.mp4").write_bytes(data)


@pytest.mark.parametrize("wrong_ns", [10 * YEAR_NS, -10 * YEAR_NS])
def test_a_run_by_a_clock_that_was_years_off_is_no_part_of_the_match(tmp_path, wrong_ns):
    """Its times alone would have it before or behind all others; its number says that it was between them."""
    for run, ahead_ns, pictures in ((1, 0, 60), (2, wrong_ns, 40), (3, 0, 60)):
        numbered(tmp_path, run, run, ahead_ns=ahead_ns, pictures=pictures)
    joined = join([tmp_path], tmp_path / "m.mp4")
    assert joined.frames == 120 and balanced(joined)
    assert [(lost["reason"], lost["frames"]) for lost in joined.lost] == [(CLOCK_STEPPED, 40)]
    assert check(tmp_path / "m.mp4", 1500.0)["good"]


def test_numbers_of_two_folders_say_nothing_of_each_other(tmp_path):
    """The node lost its disk: the beginning is left in the twin's mirror alone, under numbers of its own."""
    for folder, number, run in (("mirror", 7, 1), ("mirror", 8, 2), ("own", 1, 2), ("own", 2, 3)):
        numbered(tmp_path / folder, number, run)
    joined = join([tmp_path], tmp_path / "m.mp4")
    assert (joined.frames, joined.copied_frames, joined.lost_frames) == (180, 60, 0)


def test_numbers_that_come_twice_in_a_folder_are_of_two_counts(tmp_path):
    """Originals and mirrored copies in one heap: only the times are left."""
    for number, run in ((2, 1), (1, 2), (1, 3)):
        numbered(tmp_path, number, run)
    joined = join([tmp_path], tmp_path / "m.mp4")
    assert (joined.frames, joined.lost_frames) == (180, 0)


@pytest.mark.parametrize("seed", range(20))
def test_runs_stand_as_their_folders_have_them_and_else_by_time(tmp_path, seed):
    """Numbers against the times, in two folders that contradict each other too: always every run once."""
    order = random.Random(seed)
    chains = [order.sample(range(6), order.randint(1, 6)) for _ in range(2)]
    first_ns = [order.randint(0, 9) for _ in range(6)]
    runs = in_order(first_ns, chains)
    assert sorted(runs) == list(range(6))
    for chain in chains[:1]:
        alone = in_order(first_ns, [chain])
        assert [run for run in alone if run in chain] == chain
    assert in_order(first_ns, []) == sorted(range(6), key=lambda run: first_ns[run])


def test_pictures_without_their_key_frame_are_told_unless_the_twin_shows_them(tmp_path):
    broken = real_file("node-a", 3, 40)  # its first key frame is 15
    (tmp_path / "a.mp4").write_bytes(broken)
    joined = join([tmp_path / "a.mp4"], tmp_path / "m.mp4")
    assert [(one["reason"], one["frames"]) for one in joined.lost] == [(NO_KEY_FRAME, 12)]
    assert joined.frames == 26 and balanced(joined)
    (tmp_path / "b.mp4").write_bytes(real_file("node-b", 0, 40, role=(False, 0)))
    both = join([tmp_path / "a.mp4", tmp_path / "b.mp4"], tmp_path / "n.mp4")
    assert both.lost == () and both.frames == 41 and both.overlap_frames == 38 and balanced(both)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 25), st.sampled_from([0, YEAR_NS, -YEAR_NS, 10**9, -(10**9)])), max_size=6),
    st.integers(0, 59),
)
def test_every_picture_that_was_read_is_in_the_ledger(tmp_path_factory, spells, copied):
    folder = tmp_path_factory.mktemp("ledger")
    ahead = [ahead_ns for count, ahead_ns in [(20, 0), *spells] for _ in range(count)]
    data = clocked_file(ahead)
    (folder / "a.mp4").write_bytes(data)
    (folder / "copy.mp4").write_bytes(data[: len(data) * copied // 60])
    (folder / "b.mp4").write_bytes(real_file("node-b", 0, 58, phase=7, role=(False, 0)))
    joined = join([folder], folder / "m.mp4")
    assert balanced(joined) and joined.lost_frames >= 0 and joined.overlap_frames >= 0
    assert joined.read_frames >= len(ahead) + 59


def test_a_gap_that_nobody_has_is_told(tmp_path):
    (tmp_path / "a.mp4").write_bytes(real_file("node-a", 0, 20))
    (tmp_path / "b.mp4").write_bytes(real_file("node-b", 24, 58, phase=30))
    joined = join([tmp_path], tmp_path / "m.mp4")
    (gap,) = joined.gaps
    assert gap["after_ptp_ns"] == PTP_NS + 20 * PERIOD_US * 1000
    assert gap["frames_missing"] == 9  # 24..29 are there and cannot be decoded without their key frame
    found = check(tmp_path / "m.mp4")
    assert not found["good"] and found["steps_above"] == 1


def test_the_duration_is_in_the_start_and_an_index_at_the_end(both, tmp_path):
    join(both, tmp_path / "m.mp4")
    data = (tmp_path / "m.mp4").read_bytes()
    kinds = [box.kind for box in walk(data, 0, len(data))]
    assert kinds[:3] == [b"ftyp", b"moov", b"uuid"] and kinds[-1] == b"mfra"
    assert data[-4:] == (len(data) - data.rindex(b"mfra") + 4).to_bytes(4, "big")
    at = data.index(b"mehd")
    assert int.from_bytes(data[at + 8 : at + 16], "big") == 1180  # 59 x 20 ms in the movie's ms


def test_nothing_to_join_is_an_error_with_its_fix(tmp_path, both):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no recording there"):
        join([tmp_path / "none"], tmp_path / "m.mp4")
    (tmp_path / "text.mp4").write_text("hello, this is no film at all")
    with pytest.raises(InputError, match=r"text\.mp4 is no recording"):
        join([tmp_path / "text.mp4"], tmp_path / "m.mp4")
    (tmp_path / "torn.mp4").write_bytes(real_file("node-a", 0, 3)[:700])
    with pytest.raises(InputError, match="whole fragment"):
        join([tmp_path / "torn.mp4"], tmp_path / "m.mp4")
    (tmp_path / "delta.mp4").write_bytes(real_file("node-a", 1, 9))
    with pytest.raises(InputError, match="key frame"):
        join([tmp_path / "delta.mp4"], tmp_path / "m.mp4")
    assert not (tmp_path / "m.mp4").exists()


def test_what_does_not_fit_together_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(file_of([fragment(0)]))
    (tmp_path / "b.mp4").write_bytes(file_of([fragment(0)], replace(HEAD, node="node-b", width_px=640)))
    with pytest.raises(InputError, match="h264 640x192"):
        join([tmp_path], tmp_path / "m.mp4")
    (tmp_path / "b.mp4").write_bytes(file_of([fragment(0)], replace(HEAD, camera=2)))
    with pytest.raises(InputError, match=r"cameras \[1, 2\]") as caught:
        join([tmp_path], tmp_path / "m.mp4")
    assert "--camera" in caught.value.hint
    with pytest.raises(InputError, match="no recording of camera 3"):
        join([tmp_path], tmp_path / "m.mp4", camera=3)


def avc(*units: bytes) -> bytes:
    """A start whose sample entry has an avcC with one sequence set and the other units as picture sets."""
    sets = [len(unit).to_bytes(2, "big") + unit for unit in units]
    body = bytes([1, 66, 0, 30, 0xFF, 0xE1]) + sets[0] + bytes([len(sets) - 1]) + b"".join(sets[1:])
    return start(bytes(78) + make(b"avcC", body))


def test_starts_are_merged():
    same, nothing = merge([avc(b"sps", b"pps"), avc(b"sps", b"pps")])
    assert same == avc(b"sps", b"pps") and nothing == [b"", b""]
    init, before = merge([avc(b"sps", b"pps"), avc(b"other", b"p", b"q")])
    assert b"avc3" in init and b"avc1" not in init
    assert before[1] == b"\0\0\0\5other\0\0\0\1p\0\0\0\1q"
    assert with_duration(with_duration(init, 10**6), 2 * 10**6).count(b"mehd") == 1


@pytest.mark.parametrize(
    "other", [b"\0\0\0\x08ftyp", avc(b"s", b"p")[:-1], start(b"x"), avc(b"s", b"p").replace(b"avc1", b"mp4v")]
)
def test_starts_that_cannot_be_merged_are_refused(other):
    with pytest.raises(InputError):
        merge([avc(b"sps", b"pps"), other])


@given(data=st.binary(max_size=120), kind=st.sampled_from([b"avcC", b"hvcC"]))
def test_any_decoder_configuration_is_parameter_sets_or_an_error(data, kind):
    with contextlib.suppress(BoxError):
        parameter_sets(make(b"avc1", bytes(78), make(kind, data)))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_any_two_halves_play_through(tmp_path_factory, seed):
    """Wherever a dies and whatever phase b's key frames have: every exposure that one of them decodes is there."""
    dice = random.Random(seed)
    folder = tmp_path_factory.mktemp("halves")
    begin, phase = dice.randrange(0, 16), dice.randrange(15)
    first_key = begin + (phase - begin) % 15
    death = dice.randrange(first_key - 1 if first_key else 0, 55)
    (folder / "a.mp4").write_bytes(real_file("node-a", 0, death))
    (folder / "b.mp4").write_bytes(real_file("node-b", begin, 58, phase=phase, role=(False, 0), offset_ns=-400))
    joined = join([folder], folder / "m.mp4")
    wanted = set(range(death + 1)) | set(range(first_key, 59))
    found = read_recording(folder / "m.mp4")
    assert found is not None
    assert found.frames["sequence"].tolist() == sorted(wanted)
    assert joined.step_max_ns <= 20_000_400
    played = check(folder / "m.mp4")
    assert played["good"] and played["decoded"] == len(wanted)


# --- commands --------------------------------------------------------------------------------------------------------


def run(*words: str | Path):
    return CliRunner().invoke(recording, [str(word) for word in words])


def test_the_commands(both, tmp_path):
    out = tmp_path / "m.mp4"
    done = run("join", *both, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["frames"] == 59
    assert run("join", *both, "--out", out).exit_code == 2  # it exists
    text = run("join", *both, "--out", out, "--force").output
    assert "59 pictures" in text and "node-b" in text and "standby" in text
    done = run("check", out, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["good"]
    assert "PTS to PTP" in run("check", out).output
    missed = run("check", out, "--max-step-ms", "10")
    assert isinstance(missed.exception, GateError)
    assert not json.loads(run("check", out, "--no-decode", "--max-step-ms", "10", "--json").stdout)["good"]


def test_check_of_a_torn_recording_says_so_and_of_a_damaged_one_that_it_is_bad(tmp_path):
    whole = real_file("node-a", 0, 40)
    (tmp_path / "torn.mp4").write_bytes(whole[:-30])
    torn = run("check", tmp_path / "torn.mp4", "--json")
    assert json.loads(torn.stdout)["torn_bytes"] > 0
    data = bytearray(whole)
    at = whole.rindex(b"mdat", 0, len(whole) // 2)
    data[at + 30 : at + 60] = bytes(30)
    (tmp_path / "bad.mp4").write_bytes(data)
    bad = run("check", tmp_path / "bad.mp4")
    assert isinstance(bad.exception, GateError)
    assert isinstance(run("check", tmp_path / "none.mp4").exception, InputError)


def test_check_plays_files_that_are_not_ours(tmp_path):
    (tmp_path / "x.mp4").write_bytes(encode([n * 8333 for n in range(40)]))
    value = json.loads(run("check", tmp_path / "x.mp4", "--json").stdout)
    assert value["good"] and value["ptp"] is None and value["step_max_ms"] == 8.333


def test_encoders_are_tried():
    done = run("encoders", "--json")
    assert json.loads(done.stdout)["encoders"]["libx264"] == "works"


def test_what_is_not_joined_is_said_in_words_and_json_and_by_the_exit_code(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.mp4").write_bytes(clocked_file([0] * 20 + [YEAR_NS] * 10 + [0] * 30))
    (tmp_path / "a" / "torn.mp4").write_bytes(clocked_file([0])[:600])
    done = run("join", tmp_path / "a", "--out", tmp_path / "m.mp4")
    assert isinstance(done.exception, GateError) and "lacks 10 pictures" in done.exception.message
    assert "read 60 pictures: 50 joined, 0 of the same exposures, 0 copies, 10 not joined" in done.output
    assert "torn.mp4: torn before its first whole fragment" in done.output
    assert "not joined: 10 pictures of node-a" in done.output and "the clock was set" in done.output
    done = run("join", tmp_path / "a", "--out", tmp_path / "n.mp4", "--json")
    value = json.loads(done.stdout)
    assert isinstance(done.exception, GateError)
    assert (value["read_frames"], value["lost_frames"]) == (60, 10)
    assert value["lost"][0]["reason"] == CLOCK_STEPPED and len(value["empty_files"]) == 1
    assert (tmp_path / "n.mp4").stat().st_size > 0


def test_a_gap_is_said_beside_the_result(tmp_path):
    (tmp_path / "a.mp4").write_bytes(real_file("node-a", 0, 20))
    (tmp_path / "b.mp4").write_bytes(real_file("node-b", 30, 58, phase=0))
    done = run("join", tmp_path, "--out", tmp_path / "m.mp4")
    assert "gap of 200.0 ms (9 frames)" in done.output


def test_times_within_a_fragment_of_several_pictures_are_kept(tmp_path):
    items = list(
        FragmentStream().feed(encode([n * n * 100 for n in range(40)], Coding(preset="ultrafast", fragment=5)))
    )
    raws = [one for one in items if isinstance(one, Raw)]
    assert isinstance(items[0], Init) and any(len(raw.moof.samples) > 1 for raw in raws)
    fragments, seen = [], 0
    for number, raw in enumerate(raws):
        marks = tuple(
            Mark(PTP_NS + us * 1000, seen + i, 0, 1, ClockState.LOCKED) for i, us in enumerate(times_of(raw.moof))
        )
        fragments.append(Fragment(number, True, 1, marks, raw.moof, raw.data))
        seen += len(marks)
    (tmp_path / "x.mp4").write_bytes(items[0].data + SMALL.to_bytes() + b"".join(one.to_bytes() for one in fragments))
    joined = join([tmp_path / "x.mp4"], tmp_path / "m.mp4")
    assert joined.frames == 40
    found = check(tmp_path / "m.mp4", 60_000)
    assert found["good"] and found["ptp"]["pts_error_max_us"] == 0.0
