"""What every target does around its check: options, corpus, libFuzzer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import atheris

VECTORS: Final = Path(__file__).parents[1] / "vectors"
MAX_BYTES: Final = 1200


def fuzz(module: str, about: str, one_input: Callable[[bytes], None], seeds: Mapping[str, bytes]) -> None:
    """Run for a bounded time; ``seeds`` are where mutation begins when a corpus is kept. Does not return."""
    parser = argparse.ArgumentParser(description=about, epilog=f"example: python -m {module} --seconds 60")
    parser.add_argument("--seconds", type=int, default=30, help="stop after so long (default 30)")
    parser.add_argument("--corpus", type=Path, default=None, help="folder that keeps interesting inputs")
    arguments = parser.parse_args()
    words = [sys.argv[0], f"-max_total_time={arguments.seconds}", f"-max_len={MAX_BYTES}", "-print_final_stats=1"]
    if arguments.corpus:
        arguments.corpus.mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (arguments.corpus / f"golden-{name}").write_bytes(data)
        words.append(str(arguments.corpus))
    atheris.Setup(words, one_input)
    atheris.Fuzz()
