"""Calls that can be made once only: each door walks with a subject of its own, and all are told the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from solders.keypair import Keypair

from app.demo.doors import Doors
from domain.ids import MarketId
from domain.lifecycle import Lifecycle
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem, create_markets, new_market_id
from tests.support.three_doors import Answer, Rpc, without

By = Callable[[Rpc, Mapping[str, Any], Mapping[str, str]], Awaitable[Answer]]
"""One door of `ThreeDoors`."""
SESSION = "access_token refresh_token expires_at"
MOVED = "market_id transaction_id status transaction_signature"
"""How far a transaction has come by the time of the answer is the chain's to say."""
ALERT = "id created_at last_at dedupe_key acknowledged_at resolved_at"
TAKEN_IN = "SELECT true FROM chain_transactions WHERE market_id = $1 AND applied_at IS NOT NULL"
NEW_ALERT = """
INSERT INTO alerts (dedupe_key, alert_type, severity, data) VALUES ($1, 'fee_cap', 'LOW', '{}') RETURNING alert_id::text
"""


@dataclass
class Walk:
    """The calls through one door so far, each with its answer without what differs from walk to walk."""

    by: By
    system: RunningSystem
    doors: Doors
    told: list[tuple[str, Any]] = field(default_factory=list)

    async def call(self, name: str, fields: Mapping[str, Any], varies: str, is_operator: bool = False) -> Any:
        """The answer's body, whole; fails on a refusal."""
        operator = {"authorization": f"Bearer {self.system.connection['operator_token']}"}
        answer = await self.by(Rpc(f"/zmart.v1.{name}"), fields, operator if is_operator else {})
        assert answer.code == 0, (name, answer)
        self.told.append((name, without(answer.body, frozenset(varies.split()))))
        return answer.body

    async def move(self, market_id: MarketId, transition: str, state: Lifecycle) -> None:
        """An operator has a market moved, and the chain shows it."""
        name = f"MarketService/{transition}Market"
        answer = await self.call(name, {"market_id": market_id}, MOVED, is_operator=True)
        assert answer["market_id"] == market_id

        async def is_there() -> bool:
            return (await self.doors.market(market_id)).state == state.name

        await eventually_async(is_there, timeout_s=60)


async def sign_in(walk: Walk) -> None:
    """A wallet signs its challenge, and its session goes on."""
    wallet = Keypair()
    asked = {"address": str(wallet.pubkey())}
    challenge = await walk.call("AuthService/CreateChallenge", asked, "message nonce expires_at")
    signed = {"message": challenge["message"], "signature": str(wallet.sign_message(challenge["message"].encode()))}
    session = await walk.call("AuthService/SignIn", {**asked, **signed}, SESSION)
    renewed = await walk.call("AuthService/RefreshToken", {"refresh_token": session["refresh_token"]}, SESSION)
    assert len({session["access_token"], renewed["access_token"], session["refresh_token"]}) == 3


async def move_market(walk: Walk) -> None:
    """Three of four likes go to the chain, enough for the program and too few for an approval by itself (P1)."""
    market_id = new_market_id()
    await create_markets(walk.doors, [market_id])
    for word in ("dislike", "like", "like", "like"):
        await walk.doors.cast(walk.system.token(Keypair()), market_id, word)
    await walk.call(
        "OpsService/AggregateNow",
        {"market_id": market_id},
        "aggregation_id status transaction_signature",
        is_operator=True,
    )
    async with _database(walk.system) as database:
        await eventually_async(lambda: database.fetchval(TAKEN_IN, market_id), timeout_s=60)
    await walk.move(market_id, "Approve", Lifecycle.APPROVED)
    await walk.move(market_id, "Activate", Lifecycle.ACTIVE)


async def cancel_market(walk: Walk) -> None:
    """A proposal is taken away."""
    market_id = new_market_id()
    await create_markets(walk.doors, [market_id])
    await walk.move(market_id, "Cancel", Lifecycle.CANCELLED)


async def end_alert(walk: Walk) -> None:
    """An alert is taken note of and ended."""
    async with _database(walk.system) as database:
        alert_id = await database.fetchval(NEW_ALERT, f"test:{new_market_id()}")
    for step, status in (("Acknowledge", "acknowledged"), ("Resolve", "resolved")):
        answer = await walk.call(f"OpsService/{step}Alert", {"id": alert_id}, ALERT, is_operator=True)
        assert (answer["alert"]["id"], answer["alert"]["status"]) == (alert_id, status)


WALKS: Mapping[Callable[[Walk], Awaitable[None]], tuple[str, ...]] = {
    sign_in: ("AuthService/CreateChallenge", "AuthService/SignIn", "AuthService/RefreshToken"),
    move_market: ("OpsService/AggregateNow", "MarketService/ApproveMarket", "MarketService/ActivateMarket"),
    cancel_market: ("MarketService/CancelMarket",),
    end_alert: ("OpsService/AcknowledgeAlert", "OpsService/ResolveAlert"),
}
"""Every walk, with the methods that are called on it, in order."""


def _database(system: RunningSystem) -> Any:
    return asyncpg.create_pool(system.connection["database_url"], min_size=1, max_size=1)
