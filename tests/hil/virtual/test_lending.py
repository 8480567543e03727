"""Which site a test is lent: the one that is there, or a fresh one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hil.virtual import lending
from hil.virtual.lending import Lender
from touchline.errors import HardwareError


class FakeSite:
    """A site without machines; ``alive`` and ``sound`` are for tests to change."""

    made: list[FakeSite]
    sound = True

    def __init__(self, _image: object, folder: Path, _passengers: object, *, name: str) -> None:
        self.folder, self.name = folder, name
        self.alive, self.closed = True, False
        self.restored: list[object] = []
        self.nodes = {"a": SimpleNamespace(machine=self)}
        self.rack = SimpleNamespace(check=lambda: None)
        self.made.append(self)

    def __enter__(self) -> FakeSite:
        self.folder.mkdir()
        return self

    def restore(self, golden: object) -> None:
        if not self.sound:
            raise HardwareError("the snapshot does not load")
        self.restored.append(golden)

    def check(self) -> None:
        if not self.alive:
            raise HardwareError("the guest powered off")

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def lender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(FakeSite, "made", [], raising=False)
    monkeypatch.setattr(lending, "VirtualSite", FakeSite)
    return Lender(tmp_path)


def golden() -> Any:
    return SimpleNamespace(image=None, passengers=())


def test_it_is_lent_again_until_it_is_closed(lender: Any, tmp_path: Path):
    one = golden()
    first = lender.lend(one)
    assert lender.lend(one) is first
    assert first.restored == [one]
    lender.close()
    assert first.closed
    assert list(tmp_path.iterdir()) == []
    second = lender.lend(one)
    assert second is not first
    assert second.name != first.name


def test_another_snapshot_or_a_death_means_a_fresh_one(lender: Any):
    one, other = golden(), golden()
    first = lender.lend(one)
    second = lender.lend(other)
    assert first.closed
    second.alive = False
    third = lender.lend(other)
    assert second.closed
    assert not third.closed
    assert FakeSite.made == [first, second, third]


def test_one_that_cannot_be_restored_leaves_nothing(lender: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FakeSite, "sound", False)
    with pytest.raises(HardwareError):
        lender.lend(golden())
    assert FakeSite.made[0].closed
    assert list(tmp_path.iterdir()) == []
