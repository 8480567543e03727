"""The doctor: each fact of a host and what is said of it; then this host, as it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hil.virtual import doctor as module
from hil.virtual.doctor import BUILD_MIB, RUN_MIB, Finding, HostFacts, Level, Probe, Room, doctor, evaluate, lacking
from touchline.errors import ResourceError

GOOD = HostFacts(
    machine="x86_64",
    cores=2,
    root=True,
    ram_free_mib=16_000,
    cache=Room("/cache", 20_000),
    state=Room("/state", 20_000),
    kvm=Probe("usable"),
    qemu=Probe("7.2.22"),
    tun=Probe("usable"),
    network=Probe("usable, with a bridge"),
    emulation=Probe("registered with binfmt_misc"),
    mirror=Probe("mirror"),
    image=Probe("0123456789abcdef"),
    image_age_days=1.0,
)
EMPTY = replace(GOOD, image=Probe(trouble="there is no image", fix="build it"), image_age_days=None)


def said(facts: HostFacts, what: str) -> Finding:
    return next(one for one in evaluate(facts) if one.what == what)


def test_a_good_host_has_nothing_to_mend():
    assert {one.level for one in evaluate(GOOD)} == {Level.OK}
    assert lacking(evaluate(GOOD)) == []
    assert not any(one.fix for one in evaluate(GOOD))


CASES: list[tuple[HostFacts, dict[str, Any], str, Level, str]] = [
    (GOOD, {"root": False}, "user", Level.MISSING, "sudo"),
    (GOOD, {"cores": 1}, "processor", Level.WARN, "more cores"),
    (EMPTY, {"machine": "riscv64"}, "processor", Level.MISSING, "build on"),
    (GOOD, {"qemu": Probe(trouble="QEMU 6.2 is too old", fix="get it")}, "QEMU", Level.MISSING, "get it"),
    (GOOD, {"tun": Probe(trouble="not there", fix="modprobe tun")}, "/dev/net/tun", Level.MISSING, "modprobe"),
    (GOOD, {"network": Probe(trouble="no", fix="x")}, "network namespaces", Level.MISSING, "x"),
    (GOOD, {"ram_free_mib": 3000}, "memory", Level.WARN, "free 1,000 MiB"),
    (GOOD, {"ram_free_mib": 2000}, "memory", Level.MISSING, "free 100 MiB"),
    (GOOD, {"cache": Room("/cache", BUILD_MIB - 1)}, "disk to build", Level.WARN, "--cache-dir"),
    (EMPTY, {"cache": Room("/cache", BUILD_MIB - 1)}, "disk to build", Level.MISSING, "--cache-dir"),
    (GOOD, {"state": Room("/state", RUN_MIB - 1)}, "disk to run", Level.MISSING, "free some space"),
    (GOOD, {"missing_to_build": ("make",)}, "packages", Level.WARN, "apt-get install make"),
    (EMPTY, {"missing_to_build": ("make",)}, "packages", Level.MISSING, "apt-get install make"),
    (GOOD, {"missing_to_run": ("mosquitto",)}, "packages", Level.MISSING, "apt-get install mosquitto"),
    (GOOD, {"emulation": Probe(trouble="none", fix="modprobe")}, "arm64 programs", Level.WARN, "modprobe"),
    (EMPTY, {"emulation": Probe(trouble="none", fix="modprobe")}, "arm64 programs", Level.MISSING, "modprobe"),
    (EMPTY, {"mirror": Probe(trouble="no Debian", fix="--mirror")}, "Debian mirror", Level.MISSING, "--mirror"),
    (EMPTY, {}, "image", Level.WARN, "build it"),
    (GOOD, {"image_age_days": 31.0}, "image", Level.WARN, "build"),
    (GOOD, {"dead": ("demo",)}, "dead nodes", Level.WARN, "destroy --name demo"),
    (GOOD, {"stale": ("tlv-x",)}, "stale namespaces", Level.WARN, "removes them"),
]


@pytest.mark.parametrize(("facts", "change", "what", "level", "fix"), CASES)
def test_what_is_wrong_is_named_with_its_fix(
    facts: HostFacts, change: dict[str, Any], what: str, level: Level, fix: str
):
    found = said(replace(facts, **change), what)
    assert found.level is level
    assert fix in found.fix


def test_each_disk_is_judged_by_what_lies_on_it():
    full = replace(GOOD, cache=Room("/cache", RUN_MIB), state=Room("/state", RUN_MIB))
    assert said(full, "disk to run").level is Level.OK
    assert said(full, "disk to build").found == f"{RUN_MIB:,} MiB free in /cache"


def test_a_folder_that_is_not_there_yet_has_its_parents_disk(tmp_path: Path):
    facts = module.probe(tmp_path, tmp_path / "later" / "state")
    assert facts.state.folder == str(tmp_path / "later" / "state")
    assert facts.state.free_mib > 0


def test_kvm_of_another_processor_does_not_help():
    assert "cannot run an arm64 guest" in said(GOOD, "KVM").found
    arm = replace(GOOD, machine="aarch64")
    assert said(arm, "KVM").found == "usable"
    assert "no right" in said(replace(arm, kvm=Probe(trouble="no right")), "KVM").found


def test_an_arm64_host_needs_no_emulation_to_build():
    found = evaluate(replace(GOOD, machine="aarch64", emulation=Probe(trouble="none")))
    assert lacking(found) == []
    assert "arm64 programs" not in {one.what for one in found}


def test_one_command_brings_all_packages():
    found = said(replace(EMPTY, missing_to_build=("make", "qemu-utils"), missing_to_run=("qemu-utils",)), "packages")
    assert found.fix == "apt-get install make qemu-utils"


def test_devices_are_tried(tmp_path: Path):
    there = tmp_path / "device"
    there.touch()
    assert module._probe_device(there, "make it") == Probe("usable")
    absent = module._probe_device(tmp_path / "none", "make it")
    assert "No such file" in absent.trouble
    assert absent.fix == "make it"
    assert "Is a directory" in module._probe_device(tmp_path, "make it").trouble


def test_a_site_without_a_process_is_dead(tmp_path: Path):
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "site.json").write_text("{")
    assert "left" in module._probe_nodes(tmp_path)[1]


def test_the_command_looks_at_this_host(tmp_path: Path):
    result = CliRunner().invoke(doctor, ["--cache-dir", str(tmp_path), "--json"])
    shown = json.loads(result.stdout)
    assert {one["what"] for one in shown["findings"]} >= {"QEMU", "memory", "disk to run", "packages", "image", "KVM"}
    assert shown["ready"] is (result.exception is None)
    if result.exception is not None:
        assert isinstance(result.exception, ResourceError)
        assert result.exception.exit_code == 5
    assert list(tmp_path.iterdir()) == [], "it changes nothing"


def test_the_table_has_a_line_for_each_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(module, "probe", lambda _cache: replace(GOOD, root=False, dead=("[demo]",)))
    result = CliRunner().invoke(doctor, ["--cache-dir", str(tmp_path)])
    assert isinstance(result.exception, ResourceError)
    assert "user" in result.exception.message
    assert result.exception.hint == "run it with sudo"
    assert "[demo]" in result.output
    assert "/dev/net/tun" in result.output


def test_no_password_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from hil.virtual.image.sources import Mirror

    monkeypatch.setattr(module, "host_mirror", lambda _programs: Mirror("https://me:secret@mirror.example/debian"))
    shown = CliRunner().invoke(doctor, ["--cache-dir", str(tmp_path), "--json"]).stdout
    assert "mirror.example" in shown
    assert "secret" not in shown
