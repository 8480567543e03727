"""Whether a service is wanted, asked of node.toml by grep: never a no where the table is, however it is spelt."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash.bundle.node.place import CONFIG
from tests.systemd.units import FOLDER, UNITS, asks_for_table, value, values

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROGRAM = "/opt/touchline/current/bin/touchline"
ASKED = {name: FOLDER / f"touchline-{name}.service" for name in ("thermal", "protect", "failover")}
SPELT = (
    "[{0}]",
    "  [ {0} ]  # ours",
    '\t["{0}"]',
    "['{0}']",
    "{0} = {{}}",
    '"{0}"={{ a = 1 }}',
    "{0}.a = 1.5",
    "{0} . a = 1",
    "[{0}.sub]",
    "[[{0}]]",
)
OTHERS = ("", "# [{0}]", "[{0}ed]", "[un{0}]", 'a = "{0}"', "[node]\nname = 1 # {0} = 1", "un{0}.a = 1", "a.{0}.b = 1")


def says_yes(pattern: str, text: str) -> bool:
    done = subprocess.run(["grep", "-Eq", pattern], input=text.encode(), check=False)
    assert done.returncode in (0, 1)
    return done.returncode == 0


@pytest.mark.parametrize("name", ASKED)
@given(spelt=st.sampled_from(SPELT), before=st.sampled_from(["", "x = 1\n", "\r\n", "# a comment\n\n"]))
def test_a_table_is_found_however_it_is_spelt(name, spelt, before):
    text = before + spelt.format(name) + "\n"
    assert name in tomllib.loads(text)
    assert says_yes(asks_for_table(ASKED[name], str(CONFIG)), text)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", ASKED)
def test_a_word_of_it_is_no_table(name, other):
    text = other.format(name) + "\n"
    assert name not in tomllib.loads(text)
    assert not says_yes(asks_for_table(ASKED[name], str(CONFIG)), text)


def test_what_is_restarted_is_never_asked_by_a_program_that_may_not_know():
    """255 of ExecCondition is a failure, which Restart=always restarts for ever: RestartPreventExitStatus is of the
    main process alone. A unit that is not restarted may ask."""
    for unit in UNITS:
        if values(unit, "Restart"):
            assert not [line for line in values(unit, "ExecCondition") if f"{PROGRAM} " in line and " needed " in line]


@pytest.mark.parametrize("name", ASKED)
def test_a_configuration_that_is_wrong_ends_a_service_for_good(name):
    assert "3" in value(ASKED[name], "RestartPreventExitStatus").split()
