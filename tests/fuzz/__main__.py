"""Runs one target under atheris: `uv run --group fuzz python -m tests.fuzz webhook --seconds 600`.

A find ends it, and is written as `crash-*` into the current folder. Inputs that cover more are kept in a temporary
folder, or where `--grown` says; those worth keeping, small ones, are copied into `tests/fuzz/corpus/`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

CORPUS = Path(__file__).parent / "corpus"
BYTES_MAX = 4_096


def main() -> None:
    """Fuzz until the time is up; ends the process with the fuzzer's status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=["webhook", "log", "frames", "calls", "session"])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--grown", type=Path, help="where new inputs are kept")
    options = parser.parse_args()
    with atheris.instrument_imports(include=["chain", "indexer", "storage", "ws_bridge", "json"]):
        from tests.fuzz.targets import TARGETS
    grown = options.grown or Path(tempfile.mkdtemp())
    flags = [f"-max_total_time={options.seconds}", f"-max_len={BYTES_MAX}", f"-dict={CORPUS / 'words.dict'}"]
    folders = [str(grown), str(CORPUS / options.target)]
    atheris.Setup([sys.argv[0], *flags, *folders], TARGETS[options.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
