"""A year under outages of RPC, database, shard and agent: nothing stuck unnoticed, nothing missed, nothing done twice.

`ZMART_SEED=n` runs one seed again. The normal suite runs a few years, `-m long` two hundred.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.support.virtual_time import run_virtually
from tests.support.year_verdict import judge
from tests.support.year_world import Year

SEEDS = [int(os.environ["ZMART_SEED"])] if "ZMART_SEED" in os.environ else list(range(4))
LONG_SEEDS = 200


def run_seed(seed: int, data_dir: Path) -> Counter[str]:
    async def live() -> Counter[str]:
        year = Year(seed, data_dir)
        try:
            await year.run()
            return judge(year) + year.deaths
        finally:
            year.node.close()

    found: Counter[str] = run_virtually(live())
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_year_of_outages_leaves_no_market_stuck_unnoticed_and_no_transition_missed_or_done_twice(
    seed: int, tmp_path: Path
) -> None:
    found = run_seed(seed, tmp_path)
    assert found["stuck days"] > 0
    assert min(found["shard"], found["agent"]) > 0


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_two_hundred_years_of_outages(tmp_path: Path) -> None:
    found = sum((run_seed(seed, tmp_path / str(seed)) for seed in range(LONG_SEEDS)), Counter[str]())
    print(f"{LONG_SEEDS} years: {dict(found)}")  # noqa: T201
    assert found["transitions"] == LONG_SEEDS * 12, "an approval and an end of each market but the cancelled one"
    assert min(found["late transitions"], found["breakers opened"], found["failures told"]) > 0
    assert found["doubtful stuck days"] < found["stuck days"] / 10
