"""``touchline record``: what a person and what a program get."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from touchline.record import TruncatedBatch
from touchline.record_cli import record
from touchline.record_spec import c_header, spec_dict
from touchline.run import need, run

VECTOR = Path(__file__).parents[1] / "vectors" / "batch_v1.tlb"


def test_decode_prints_each_record():
    result = CliRunner().invoke(record, ["decode", str(VECTOR)])
    assert result.exit_code == 0, result.output
    assert "node pitch-a1" in result.output
    assert "52.50" in result.output
    assert "predicted" in result.output


def test_decode_json_of_two_batches_from_standard_input():
    result = CliRunner().invoke(record, ["decode", "-", "--json"], input=VECTOR.read_bytes() * 2)
    batches = json.loads(result.output)["batches"]
    assert [b["count"] for b in batches] == [3, 3]
    assert batches[0]["records"][1]["flags"] == ["predicted"]
    assert batches[0]["records"][1]["class"] == 2


def test_decode_names_the_offset_of_a_torn_batch():
    result = CliRunner().invoke(record, ["decode", "-"], input=VECTOR.read_bytes() + VECTOR.read_bytes()[:-1])
    assert isinstance(result.exception, TruncatedBatch)
    assert "batch at byte 392" in str(result.exception)


def test_the_program_exits_4_with_one_line_for_a_foreign_file(tmp_path):
    foreign = tmp_path / "x.bin"
    foreign.write_bytes(b"\x7fELF" + bytes(200))
    done = subprocess.run(
        [sys.executable, "-m", "touchline.cli", "record", "decode", str(foreign)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert "magic" in done.stderr
    assert "Traceback" not in done.stderr


def test_spec_json_adds_up():
    for part in ("header", "record"):
        spec = spec_dict()[part]
        assert sum(f["bytes"] for f in spec["fields"]) == spec["bytes"]


@pytest.mark.system
def test_c_header_compiles_and_reads_the_golden_batch(tmp_path):
    gcc = need("gcc", "gcc")
    (tmp_path / "touchline_record.h").write_text(c_header())
    (tmp_path / "t.c").write_text(
        '#include <stdio.h>\n#include <string.h>\n#include "touchline_record.h"\n'
        "static const unsigned char want[8] = TOUCHLINE_LAYOUT_HASH;\n"
        "int main(void){struct touchline_batch_header h; struct touchline_record r;"
        "if(fread(&h,sizeof h,1,stdin)!=1||memcmp(h.magic,TOUCHLINE_MAGIC,4)||memcmp(h.layout_hash,want,8))return 1;"
        "for(unsigned i=0;i<h.count;i++){if(fread(&r,sizeof r,1,stdin)!=1)return 2;"
        'printf("%s %u %llu %.2f\\n",h.node,r.frame,(unsigned long long)r.ptp_ns,r.x_m);}return 0;}\n'
    )
    run([gcc, "-std=c11", "-Wall", "-Werror", "-o", tmp_path / "t", tmp_path / "t.c"])
    lines = run([tmp_path / "t"], stdin=VECTOR.read_bytes()).stdout.decode().splitlines()
    assert lines[1] == "pitch-a1 100 1795000037000000000 52.50"
