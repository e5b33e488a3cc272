"""A trade on the ledger is told to its own wallet, and to nobody else."""

from __future__ import annotations

from chain.client import ChainReader
from domain.feed import positions_channel
from tests.support.disputes import SPENT, Dispute, wallet
from tests.support.system import RunningSystem


async def test_a_trade_on_the_ledger_reaches_the_channel_of_its_own_wallet_only(system: RunningSystem) -> None:
    reader = ChainReader.connect(system.connection["rpc_url"], system.connection["program_id"])
    async with system.doors() as doors, reader:
        dispute = Dispute(system, doors, reader)
        large, small = (dispute.traders[name] for name in SPENT)
        await dispute.begin()
        mine, theirs = positions_channel(wallet(large)), positions_channel(wallet(small))
        async with (
            doors.subscribed(system.token(large), mine) as watch,
            doors.subscribed(system.token(small), f"{theirs},{mine}") as other,
        ):
            snapshot = await watch.until("SNAPSHOT", channel=mine)
            assert (snapshot["positions"], snapshot["seq"]) == ([], 0)
            refusal = await other.until("ERROR", channel=mine)
            assert refusal["reason"] == "CHANNEL_FORBIDDEN"
            await dispute.trade()
            told = await watch.until("POSITION_UPDATE", trades_count=1)
            shares = str(await dispute.shares("large"))
            assert (told["market_id"], told["shares_yes"], told["seq"]) == (dispute.market_id, shares, 1)
            await other.until("POSITION_UPDATE", trades_count=2)
        news = [message for message in other.messages if message["type"] == "POSITION_UPDATE"]
        assert {message["channel"] for message in news} == {theirs}
        assert [message["seq"] for message in news] == list(range(1, len(news) + 1))
        async with doors.subscribed(system.token(small), theirs) as later:
            (position,) = (await later.until("SNAPSHOT"))["positions"]
            assert (position["market_id"], position["trades_count"]) == (dispute.market_id, 2)
