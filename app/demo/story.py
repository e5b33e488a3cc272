"""What the demo lives through, step by step, and what it verifies after each step."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
from solders.keypair import Keypair

from app.demo.doors import Doors, SignedIn, Watch, reason
from domain.ids import MarketId, base58_encode

QUESTION = "Will the demo pass?"
CATEGORY = "demo"
LIKES, DISLIKES = 7, 3
GRID_S = 43_200
"""From one instant of the grid that a system under watch is given to the next; more than one of a usual grid."""
APPROVED_S_MAX = 60.0
LOOK_S = 0.2
STATE_AT, TALLIES_AT = 72, 313
"""Offsets in a MarketAccount whose three Options are None (CI 4.2)."""


class NotVerified(Exception):
    """A step did not show what it should; carries the claim and what was seen instead."""

    def __init__(self, claim: str, expected: object, seen: object) -> None:
        super().__init__(f"{claim}: expected {expected!r}, saw {seen!r}")
        self.claim = claim


@dataclass(frozen=True, slots=True)
class Verified:
    """One claim that held."""

    step: str
    claim: str
    seen: str


@dataclass(slots=True)
class Story:
    """One market from its creation to its approval. `steps` runs it; any exception means that a step failed."""

    doors: Doors
    market_id: MarketId = field(default_factory=lambda: MarketId(base58_encode(bytes(Keypair().pubkey()))))
    creator: Keypair = field(default_factory=Keypair)
    voters: list[SignedIn] = field(default_factory=list)
    verified: list[Verified] = field(default_factory=list)
    step: str = ""

    async def live(self, progress: Callable[[str], None]) -> None:
        """Run every step in order; raises what the failing one raises."""
        async with AsyncExitStack() as stack:
            async for name in self._steps(stack):
                progress(name)

    async def _steps(self, stack: AsyncExitStack) -> AsyncIterator[str]:
        for name, step in (
            ("the creator proposes a market on the ledger", self._propose),
            ("ten wallets sign in", self._sign_in),
            ("the creator describes the market", self._describe),
        ):
            yield self._begin(name)
            await step()
        yield self._begin("a browser subscribes to the market")
        watch = await stack.enter_async_context(self.doors.watching(self.voters[0], self.market_id))
        await self._subscribe(watch)
        watching: tuple[tuple[str, Callable[[Watch], Awaitable[None]]], ...] = (
            ("three dislikes and seven likes are cast", self._vote),
            ("a second vote of one wallet is refused", self._vote_twice),
            ("the browser saw every tally", self._see_tallies),
            ("the tallies and the approval reach the chain", self._aggregate),
            ("the API and the browser follow the chain", self._follow),
        )
        for name, watched in watching:
            yield self._begin(name)
            await watched(watch)

    def _begin(self, name: str) -> str:
        self.step = name
        return name

    def _verify(self, claim: str, expected: object, seen: object) -> None:
        if seen != expected:
            raise NotVerified(claim, expected, seen)
        self.verified.append(Verified(self.step, claim, str(seen)))

    # --- steps ----------------------------------------------------------------------------------------------------

    async def _propose(self) -> None:
        await self.doors.create_market(self.creator, self.market_id, b"Qm" + b"d" * 44)
        account = await self.doors.account_bytes(self.market_id)
        self._verify("bytes of the new account", 488, len(account))
        self._verify("state byte of the new account", 0, account[STATE_AT])

    async def _sign_in(self) -> None:
        self.voters = [await self.doors.sign_in(Keypair()) for _ in range(LIKES + DISLIKES)]
        self._verify("tokens of different wallets", LIKES + DISLIKES, len({voter.token for voter in self.voters}))

    async def _describe(self) -> None:
        creator = await self.doors.sign_in(self.creator)
        await self.doors.register(creator, self.market_id, QUESTION, CATEGORY)
        market = await self.doors.market(self.market_id)
        self._verify("question in the API", QUESTION, market.question)
        self._verify("creator in the API", str(self.creator.pubkey()), market.creator)
        self._verify("state in the API", "PROPOSED", market.state)

    async def _subscribe(self, watch: Watch) -> None:
        snapshot = await watch.until("SNAPSHOT", channel=f"market_{self.market_id}")
        self._verify("state in the snapshot", "PROPOSED", snapshot["state"])

    async def _vote(self, _: Watch) -> None:
        """Dislikes first, so that no early like approves anything at a tick in between (decisions P1)."""
        words = ["dislike"] * DISLIKES + ["like"] * LIKES
        answers = [
            await self.doors.cast(voter, self.market_id, word) for voter, word in zip(self.voters, words, strict=True)
        ]
        self._verify("acknowledged votes", len(words), sum(answer.success for answer in answers))
        self._verify("different vote ids", len(words), len({answer.vote_id for answer in answers}))
        count = answers[-1].vote_count
        self._verify("likes and dislikes in the last answer", (LIKES, DISLIKES), (count.likes, count.dislikes))

    async def _vote_twice(self, _: Watch) -> None:
        try:
            await self.doors.cast(self.voters[0], self.market_id, "like")
        except grpc.RpcError as error:
            self._verify("code of the second vote", grpc.StatusCode.ALREADY_EXISTS, error.code())
            self._verify("reason of the second vote", "ALREADY_VOTED", reason(error))
        else:
            raise NotVerified("the second vote", "a refusal", "an acknowledgement")
        tally = (await self.doors.tally(self.market_id)).proposal
        self._verify("tally after the refusal", (LIKES, DISLIKES), (tally.likes, tally.dislikes))
        self._verify("share of likes in basis points", 7000, tally.percentage_bps)

    async def _see_tallies(self, watch: Watch) -> None:
        await watch.until("VOTE_UPDATE", likes=LIKES, dislikes=DISLIKES)
        updates = [message for message in watch.messages if message["type"] == "VOTE_UPDATE"]
        seqs = [update["seq"] for update in updates]
        self._verify("numbers of the updates have no gap", list(range(seqs[0], seqs[0] + len(seqs))), seqs)
        totals = [update["likes"] + update["dislikes"] for update in updates]
        self._verify("totals only grow", sorted(totals), totals)
        self._verify("one epoch", 1, len({update["epoch"] for update in updates}))

    async def _aggregate(self, _: Watch) -> None:
        await self.doors.advance_clock(GRID_S)
        account = await self._account_when(lambda raw: raw[STATE_AT] == 1)
        likes, dislikes, total = struct.unpack_from("<III", account, TALLIES_AT)
        self._verify("tallies in the raw account", (LIKES, DISLIKES, LIKES + DISLIKES), (likes, dislikes, total))
        self._verify("state byte in the raw account (1 = APPROVED)", 1, account[STATE_AT])

    async def _follow(self, watch: Watch) -> None:
        change = await watch.until("STATE_CHANGED")
        self._verify(
            "state change in the browser", ("PROPOSED", "APPROVED"), (change["old_state"], change["new_state"])
        )
        market = await self.doors.market(self.market_id)
        self._verify("state in the API", "APPROVED", market.state)
        self._verify("approval time is set", True, market.HasField("approved_at"))

    async def _account_when(self, holds: Callable[[bytes], Any]) -> bytes:
        """The account once `holds` is true of it, or as it stands after 60 s."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + APPROVED_S_MAX
        while True:
            account = await self.doors.account_bytes(self.market_id)
            if (account and holds(account)) or loop.time() > until_s:
                return account
            await asyncio.sleep(LOOK_S)
