"""``[record]``: defaults that record, and one line with its fix for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.processes.recorder import choose_program, coding_of
from touchline.config import Section, parse
from touchline.config.record import RecordSection
from touchline.errors import ConfigError, ResourceError


class _File(Section):
    record: RecordSection


def section(**values: Any) -> RecordSection:
    words = {key: f'"{value}"' if isinstance(value, str) else value for key, value in values.items()}
    return parse("[record]\n" + "\n".join(f"{key} = {value}" for key, value in words.items()), _File).record


def test_a_folder_is_enough():
    record = section(folder="/rec")
    assert (record.gop, record.crf, record.codec, record.standby_encoder) == (15, 18, "h264", "running")
    assert record.max_bytes == 64 << 30 and record.mirror_max_bytes == 256 << 20
    assert (record.min_free_bytes, record.mirror_backlog_bytes) == (1 << 30, 16 << 20)
    assert coding_of(record).gop == 15


def test_every_key_is_described():
    assert [name for name, field in RecordSection.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fragment": 20}, "longer than gop 15"),
        ({"mirror_max": "4MiB"}, "at least 8MiB"),
        ({"max_size": "1kB"}, "between 1MiB and 64TiB"),
        ({"max_size": "much"}, "no size"),
        ({"mirror_listen": "127.0.0.1:7420"}, "go together"),
        ({"mirror_listen": "nowhere", "mirror_peer": "x:1"}, "is not an address"),
        ({"standby_encoder": "stopped"}, "set mirror_listen, mirror_peer"),
        ({"codec": "av1"}, "h264"),
        ({"encoder": "../x"}, "matching"),
        ({"crf": 60}, "51"),
        ({"speed": 1}, "unknown key"),
    ],
)
def test_mistakes_are_refused_in_words(values, words):
    with pytest.raises(ConfigError, match=words):
        section(folder="/rec", **values)


def test_the_program_is_chosen_by_path_and_missing_ones_are_an_error(tmp_path: Path):
    assert choose_program(section(folder="/rec"))[0].endswith("ffmpeg")
    with pytest.raises(ResourceError, match="nor its spare") as caught:
        choose_program(section(folder="/rec", ffmpeg=str(tmp_path / "a"), spare=str(tmp_path / "b")))
    assert "apt install ffmpeg" in caught.value.hint
