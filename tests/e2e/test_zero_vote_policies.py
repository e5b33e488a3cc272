"""Disputes on which nobody votes, under the two policies that the shared system does not have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.demo.run import running_system
from domain.disputes import MARGIN_S
from tests.e2e.test_dispute_end import AGGREGATION, Scene, disputed
from tests.e2e.test_manual_transitions import Operator
from tests.support.eventually import eventually_async
from tests.support.system import FAST, RunningSystem

pytestmark = pytest.mark.long
"""Each needs a system of its own, whose start takes ten times as long as the test."""
SENT = "SELECT action, status FROM chain_transactions WHERE market_id = $1"


@pytest.fixture
def policy_system(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningSystem]:
    """A system under the policy that the test names."""
    with running_system(tmp_path, {**FAST, "ZMART_ZERO_VOTE_DISPUTE": request.param}) as connection:
        yield RunningSystem(connection, tmp_path)


async def its_time_passes(scene: Scene) -> None:
    """The dispute period is over by the ledger's clock."""
    await scene.known_as_disputed()
    period_s = await scene.database.fetchval("SELECT dispute_period_s FROM chain_config")
    await scene.doors.advance_clock(period_s + MARGIN_S + 1)


async def until_final(scene: Scene) -> None:
    async def final() -> bool:
        market = await scene.market()
        return market.state == "FINALIZED" and market.claims_enabled

    await eventually_async(final, timeout_s=60)


@pytest.mark.parametrize("policy_system", ["hold"], indirect=True)
async def test_a_dispute_that_is_held_calls_for_an_operator_whose_word_ends_it(policy_system: RunningSystem) -> None:
    async with disputed(policy_system) as scene:
        # given a dispute without votes, when its period is over
        await its_time_passes(scene)
        # then people are told, and nothing is sent
        await eventually_async(scene.alerts, timeout_s=60)
        assert await scene.alerts() == ["dispute_without_votes"]
        assert (await scene.market()).state == "DISPUTED"
        assert await scene.database.fetch(SENT, scene.dispute.market_id) == []
        # and when an operator finalizes it, the resolution stands
        await Operator(policy_system, scene.channel).ask(scene.dispute.market_id, "Finalize")
        await until_final(scene)
        account = await scene.reader.market(scene.dispute.market_id)
        assert account is not None
        assert (account.final_outcome, account.dispute_agree, account.dispute_disagree) == (True, 0, 1)
        assert len(await scene.transactions()) == 1


@pytest.mark.parametrize("policy_system", ["invalidate"], indirect=True)
async def test_a_dispute_that_is_invalidated_ends_without_an_outcome(policy_system: RunningSystem) -> None:
    async with disputed(policy_system) as scene:
        await its_time_passes(scene)
        await until_final(scene)
        account, market = await scene.reader.market(scene.dispute.market_id), await scene.market()
        assert account is not None
        assert (account.final_outcome, market.final_outcome) == (None, "INVALID")
        (sent,) = await scene.database.fetch(SENT, scene.dispute.market_id)
        assert sent["action"] == "aggregate_dispute_votes"
        *_, row = await scene.database.fetch(AGGREGATION, scene.dispute.market_id)
        assert (row["submitted_yes"], row["submitted_no"], row["synthetic"]) == (0, 0, False)
        assert await scene.alerts() == []
        # the program writes no time of this end
        assert market.claims_payable > 0
        assert not market.HasField("finalized_at")
