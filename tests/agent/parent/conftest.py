"""Parents without processes, closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.parent.helpers import Parent

MakeParent = Callable[..., Parent]


@pytest.fixture
def make_parent(tmp_path: Path) -> Iterator[MakeParent]:
    made: list[Parent] = []

    def parent(**how: Any) -> Parent:
        made.append(Parent(tmp_path, **how))
        return made[-1]

    yield parent
    for one in made:
        one.close()
