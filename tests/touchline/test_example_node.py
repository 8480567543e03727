"""The example of a node's configuration says the truth: what is required, and what is when a key is absent."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from touchline.config import NodeConfig, Section

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = (Path(__file__).parents[2] / "docs" / "examples" / "node.toml").read_text()
TABLE = re.compile(r"^(# )?\[+([a-z.]+)\]+", re.M)


def sections(model: type[Section] = NodeConfig, prefix: str = "") -> Iterator[tuple[str, type[Section], bool]]:
    """Every table: its name, its keys, and whether a node cannot be without it."""
    for name, field in model.model_fields.items():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Section):
                yield prefix + name, part, field.is_required()
                yield from sections(part, f"{prefix}{name}.")


TABLES = {name: (model, needed) for name, model, needed in sections()}


def lines() -> Iterator[tuple[str, str, Any, str]]:
    """Keys that are commented out: table, key, value, and the remark with its next lines."""
    table = ""
    for line in re.sub(r"\n# {20,}", " ", TEXT).splitlines():
        head, key = TABLE.match(line), re.match(r"# ([a-z][a-z_0-9]*) = ", line)
        if head is not None:
            table = head[2]
        elif key is not None and table != "camera.options":
            value = tomllib.loads(line[2:])[key[1]]
            yield table, key[1], value, line


def test_what_is_required_is_named_at_its_head():
    head = TEXT[: TEXT.index("\n[")]
    named = set(re.findall(r"\b[a-z]+\.[a-z_]+\b", head[: head.index(";")]))
    needed = {
        f"{table}.{key}"
        for table, (model, required) in TABLES.items()
        if required
        for key, field in model.model_fields.items()
        if field.is_required() and f"{table}.{key}" not in TABLES
    }
    assert named == needed


@pytest.mark.parametrize(("table", "key", "value", "line"), list(lines()), ids=lambda one: str(one)[:24])
def test_a_key_that_is_commented_out_shows_its_default_or_says_what_it_is(table, key, value, line):
    field = TABLES[table][0].model_fields[key]
    assert (re.search(r" # required\b", line) is not None) == field.is_required()
    if not field.is_required() and "absent" not in line and f"{table}.{key}" not in TABLES:
        assert value == field.get_default(call_default_factory=True), line
