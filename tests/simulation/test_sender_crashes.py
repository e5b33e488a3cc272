"""The sender dies at every await, in every state, under every fault; each intent ends, and is executed at most once.

`ZMART_SEED=n` runs one seed again. The normal suite runs a few of each fault; `-m long` runs a thousand.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from domain.intents import Action, IntentStatus
from tests.support.crash_world import ENDED, SENDING_FAULTS, World
from tests.support.virtual_time import run_virtually

SEEDS = [int(os.environ["ZMART_SEED"])] if "ZMART_SEED" in os.environ else list(range(40))
LONG_SEEDS = 1_000


def run_seed(seed: int, data_dir: Path) -> World:
    async def live() -> World:
        world = World(seed, data_dir)
        try:
            await world.run()
            world.check()
        finally:
            world.close()
        return world

    found: World = run_virtually(live())
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_dies_when_every_intent_ends_and_is_executed_at_most_once(seed: int, tmp_path: Path) -> None:
    world = run_seed(seed, tmp_path)
    assert {attempt.status for attempt in world.attempts} <= ENDED
    assert sum(world.deaths.values()) > 0
    ends = [attempt for attempt in world.attempts if attempt.intent.action is Action.FINALIZE]
    assert {attempt.intent.market_id for attempt in ends} == set(world.endings)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_thousand_seeds_and_every_state_met_its_death_under_every_fault(tmp_path: Path) -> None:
    deaths: dict[str | None, Counter[str]] = {fault: Counter() for fault in SENDING_FAULTS}
    ends: Counter[str] = Counter()
    finalized: dict[str | None, int] = dict.fromkeys(SENDING_FAULTS, 0)
    places: Counter[str] = Counter()
    for seed in range(LONG_SEEDS):
        world = run_seed(seed, tmp_path / str(seed))
        ends.update(attempt.status.value for attempt in world.attempts)
        finalized[world.fault] += world.finalized
        for (state, place), count in world.deaths.items():
            deaths[world.fault][state] += count
            places[place] += count
    print(f"{LONG_SEEDS} seeds, {sum(ends.values())} intents ended: {dict(ends)}")  # noqa: T201
    print(f"{len(places)} different places of death")  # noqa: T201
    print(f"markets finalized by us under each fault: {finalized}")  # noqa: T201
    for fault, states in deaths.items():
        print(f"  {fault or 'no fault'}: deaths while rows were {dict(sorted(states.items()))}")  # noqa: T201
    wanted = {status.value for status in IntentStatus}
    assert {fault: wanted - set(states) for fault, states in deaths.items()} == {f: set() for f in SENDING_FAULTS}
    assert min(finalized.values()) > 0
