"""A calm collector: what was there at the start is never looked at again, and the young rarely."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from app.collector import calm_collector


@pytest.fixture
def collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("collector")
def test_a_full_look_leaves_out_what_was_there_at_the_start() -> None:
    kept: list[dict[str, int]] = [{} for _ in range(1_000)]
    calm_collector(5_000)
    assert gc.get_threshold()[0] == 5_000
    known = {id(each) for each in gc.get_objects()}
    assert not known & {id(each) for each in kept}
