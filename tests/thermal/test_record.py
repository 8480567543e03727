import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.plant.replay import ReplayBoard
from thermal.record import MAX_LINE_BYTES, Entry, decode, encode, read_record, record_of
from thermal.types import Board, Command, Raw, Sample

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=12)
raws = st.integers(1, 133).map(lambda number: Raw(None, number)) | st.floats(-1e6, 1e10).map(
    lambda value: Raw(round(value, 4))
)
groups = st.dictionaries(names, raws, max_size=10)
samples = st.builds(
    Sample,
    at_ns=st.integers(0, 2**62),
    zones_c=groups,
    fan_rpm=raws,
    duty_pct=raws,
    power_w=groups,
    clock_hz=st.dictionaries(st.sampled_from(("cpu", "gpu")), raws),
    oc_events=groups,
    ambient_c=st.none() | raws,
)
commands = st.builds(Command, st.floats(0, 100).map(lambda value: round(value, 4)), st.integers(0, 63))

GOLDEN = (
    b'{"v":1,"at_ns":1000000000,"zones_c":{"tj":61.5,"cv0":{"errno":11}},"fan_rpm":1740.0,"duty_pct":60.0,'
    b'"power_w":{"VDD_GPU_SOC":18.2},"clock_hz":{"cpu":2201600000.0},"oc_events":{"oc1":0.0},"ambient_c":null,'
    b'"command":{"duty_pct":60.0,"cap_level":0}}\n'
)


def sample_at(at_ns: int, tj: float = 60.0) -> Sample:
    return Sample(at_ns, {"tj": Raw(tj)}, Raw(1500.0), Raw(50.0))


def test_the_golden_line():
    sample = Sample(
        1_000_000_000,
        {"tj": Raw(61.5), "cv0": Raw(None, errno.EAGAIN)},
        Raw(1740.0),
        Raw(60.0),
        {"VDD_GPU_SOC": Raw(18.2)},
        {"cpu": Raw(2_201_600_000.0)},
        {"oc1": Raw(0.0)},
    )
    assert encode(sample, Command(60.0, 0)) == GOLDEN
    assert decode(GOLDEN) == Entry(sample, Command(60.0, 0))


@given(sample=samples, command=commands)
def test_what_is_written_is_read_back(sample, command):
    assert decode(encode(sample, command)) == Entry(sample, command)


@given(raw=st.binary(max_size=300))
def test_any_bytes_are_an_entry_or_none(raw):
    assert decode(raw) is None or isinstance(decode(raw), Entry)


@given(place=st.integers(0, len(GOLDEN) - 2), byte=st.integers(0, 255))
def test_one_wrong_byte_is_an_entry_or_none(place, byte):
    decode(GOLDEN[:place] + bytes((byte,)) + GOLDEN[place + 1 :])


@given(
    key=st.sampled_from(tuple(json.loads(GOLDEN))),
    value=st.none()
    | st.booleans()
    | st.floats(allow_nan=True)
    | st.integers(-(10**400), 10**400)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(names, st.none() | st.integers() | st.text(max_size=3), max_size=60),
)
def test_one_wrong_value_is_an_entry_or_none(key, value):
    document = {**json.loads(GOLDEN), key: value}
    entry = decode(json.dumps(document).encode())
    assert entry is None or isinstance(entry, Entry)


@pytest.mark.parametrize("wrong", [b"", b"[" * 4000, b'{"v":2}', GOLDEN.replace(b'"v":1', b'"v":9')])
def test_what_is_no_line(wrong):
    assert decode(wrong) is None


def test_a_line_that_a_reader_would_refuse_is_not_written():
    with pytest.raises(ValueError, match="refuse"):
        encode(sample_at(1, 1e30), Command(50.0, 0))
    many = Sample(1, {f"zone{number}": Raw(1.0) for number in range(60)}, Raw(1.0), Raw(1.0))
    with pytest.raises(ValueError, match=str(MAX_LINE_BYTES)):
        encode(many, Command(50.0, 0))


def test_damage_and_time_that_goes_back_are_counted(tmp_path):
    lines = [encode(sample_at(at), Command(50.0, 0)) for at in (1, 2, 2, 1, 5)]
    record = record_of([b"", lines[0], b"torn", *lines[1:]])
    assert [entry.sample.at_ns for entry in record.entries] == [1, 2, 5]
    assert record.damaged == 3
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(lines[0])
    second.write_bytes(lines[1] + lines[4])
    assert len(read_record([first, second]).entries) == 3


def test_replay_shows_the_run_again_and_then_nothing():
    record = record_of(encode(sample_at(at * 1000, 60.0 + at), Command(50.0, 0)) for at in range(5))
    board = ReplayBoard(record)
    held: Board = board
    assert held.sample(70_000).zones_c["tj"].value == 60.0
    assert held.sample(72_500).zones_c["tj"].value == 62.0
    assert held.sample(72_500).at_ns == 72_000
    assert held.set_duty(80.0) is None and held.set_caps({"cpu": 1e9}) is None
    assert held.take() is None and held.give_back() is None
    over = held.sample(75_000)
    assert over.zones_c == {} and over.duty_pct.errno == errno.ENODATA
    assert (board.orders, board.span_ns) == ([(72_500, 80.0)], 4000)
    held.close()
    with pytest.raises(ValueError, match="nothing to replay"):
        ReplayBoard(record_of([]))
