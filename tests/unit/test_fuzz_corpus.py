"""What the fuzzer has found worth keeping goes through its targets again (`python -m tests.fuzz` makes more)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_no_input_of_the_corpus_breaks_its_target(target: str) -> None:
    inputs = sorted(path for path in (CORPUS / target).iterdir() if path.is_file())
    assert len(inputs) > 5
    for path in inputs:
        TARGETS[target](path.read_bytes())
