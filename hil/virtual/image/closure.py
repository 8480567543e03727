"""Which kernel modules a set of wanted ones needs: the closure over depmod's own tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from touchline.errors import InputError


def module_name(path: str) -> str:
    """``kernel/drivers/i2c/i2c-stub.ko.xz`` -> ``i2c_stub``, the name that the kernel uses."""
    return PurePosixPath(path).name.split(".ko")[0].replace("-", "_")


@dataclass(frozen=True)
class ModuleTable:
    """depmod's view of a kernel: each module's path and what it needs, by module name."""

    paths: Mapping[str, str]
    needs: Mapping[str, tuple[str, ...]]
    soft: Mapping[str, tuple[str, ...]]
    builtin: frozenset[str]

    @staticmethod
    def parse(dep: str, softdep: str = "", builtin: str = "") -> ModuleTable:
        """From the texts of ``modules.dep``, ``modules.softdep`` and ``modules.builtin``."""
        paths: dict[str, str] = {}
        needs: dict[str, tuple[str, ...]] = {}
        for line in dep.splitlines():
            path, colon, rest = line.partition(":")
            if colon:
                paths[module_name(path)] = path
                needs[module_name(path)] = tuple(module_name(one) for one in rest.split())
        soft: dict[str, tuple[str, ...]] = {}
        for line in softdep.splitlines():
            words = line.split()
            if words[:1] == ["softdep"]:
                wanted = tuple(word.replace("-", "_") for word in words[2:] if word not in {"pre:", "post:"})
                name = words[1].replace("-", "_")
                soft[name] = (*soft.get(name, ()), *wanted)
        return ModuleTable(paths, needs, soft, frozenset(module_name(line) for line in builtin.splitlines()))

    def closure(self, wanted: Iterable[str]) -> list[str]:
        """Names in load order: what a module needs stands before it. Built-in ones are left out.

        Soft dependencies come along where the kernel has them. Wanted modules that it does not have are an
        :class:`InputError` naming them all.
        """
        plain = [name.replace("-", "_") for name in wanted]
        missing = sorted({name for name in plain if name not in self.paths and name not in self.builtin})
        if missing:
            raise InputError(f"the kernel has no module {', '.join(missing)}", hint="take it off the recipe's list")
        order: dict[str, None] = {}
        for name in plain:
            self._add(name, order, set())
        return list(order)

    def _add(self, name: str, order: dict[str, None], above: set[str]) -> None:
        if name in order or name in above or name not in self.paths:
            return
        for needed in reversed(self.needs[name]):  # depmod lists the nearest first
            self._add(needed, order, above | {name})
        for needed in self.soft.get(name, ()):
            self._add(needed, order, above | {name})
        order[name] = None
