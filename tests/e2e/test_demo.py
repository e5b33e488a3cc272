"""The demo verifies what it says: each of its steps is broken in turn, and each time it fails at that step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from rich.console import Console
from solders.keypair import Keypair

from app.demo.doors import Doors, SignedIn, Watch
from app.demo.run import StoryFailed, live, report
from app.demo.story import APPROVED_S_MAX, STATE_AT, TALLIES_AT, Story
from domain.ids import MarketId
from tests.support.system import RunningSystem
from zmart.v1 import market_service_pb2, vote_service_pb2

QUIET = Console(quiet=True)


async def tell(system: RunningSystem, doors: Doors) -> Story:
    story = Story(doors)
    await live(system.connection, QUIET, story)
    return story


async def test_the_story_holds_on_a_healthy_system(system: RunningSystem) -> None:
    async with system.doors() as doors:
        story = await tell(system, doors)
    table = report(story.verified)
    assert table.row_count == len(story.verified)
    assert {fact.step for fact in story.verified} == {liar.step for liar in LIARS}, "every step is broken by some liar"


class OneDoorLies:
    """The real doors with one of them broken, and the step that must notice."""

    approved_s_max = APPROVED_S_MAX
    step = ""

    def __init__(self, real: Doors) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class NothingIsCreated(OneDoorLies):
    """The creator's transaction never reaches the ledger."""

    step = "the creator proposes a market on the ledger"

    async def create_market(self, creator: Keypair, market_id: MarketId, question_hash: bytes) -> str:
        return "no-such-signature"


class TheSignatureIsForged(OneDoorLies):
    """A wallet answers the challenge of another one."""

    step = "ten wallets sign in"

    async def sign_in(self, pair: Keypair) -> SignedIn:
        class Impostor:
            def pubkey(self) -> Any:
                return pair.pubkey()

            def sign_message(self, message: bytes) -> Any:
                return Keypair().sign_message(message)

        return await self._real.sign_in(Impostor())  # type: ignore[arg-type]


class AStrangerDescribes(OneDoorLies):
    """Somebody else than the creator sets the question."""

    step = "the creator describes the market"

    async def register(self, creator: SignedIn, market_id: MarketId, question: str, category: str) -> None:
        stranger = await self._real.sign_in(Keypair())
        await self._real.register(stranger, market_id, question, category)


class NobodyMaySubscribe(OneDoorLies):
    """The browser's token is worth nothing."""

    step = "a browser subscribes to the market"

    @asynccontextmanager
    async def watching(self, viewer: SignedIn, market_id: MarketId) -> AsyncIterator[Watch]:
        async with self._real.watching(SignedIn(viewer.pair, "not-a-token"), market_id) as watch:
            yield watch


class AVoteGoesAstray(OneDoorLies):
    """The last like is cast as a dislike."""

    step = "three dislikes and seven likes are cast"
    casts = 0

    async def cast(self, voter: SignedIn, market_id: MarketId, word: str) -> vote_service_pb2.CastProposalVoteResponse:
        self.casts += 1
        return await self._real.cast(voter, market_id, "dislike" if self.casts == 10 else word)


class TwiceIsTaken(OneDoorLies):
    """The second vote of a wallet is cast by another wallet, and so it counts."""

    step = "a second vote of one wallet is refused"
    casts = 0

    async def cast(self, voter: SignedIn, market_id: MarketId, word: str) -> vote_service_pb2.CastProposalVoteResponse:
        self.casts += 1
        if self.casts > 10:
            voter = await self._real.sign_in(Keypair())
        return await self._real.cast(voter, market_id, word)


class TheBrowserMissesOne(OneDoorLies):
    """One update never arrives."""

    step = "the browser saw every tally"

    @asynccontextmanager
    async def watching(self, viewer: SignedIn, market_id: MarketId) -> AsyncIterator[Watch]:
        async with self._real.watching(viewer, market_id) as watch:
            yield Forgetful(watch)


class Forgetful(Watch):
    """Forgets the third update that it reads."""

    def __init__(self, real: Watch) -> None:
        super().__init__(real._socket)

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        found = await super().until(kind, **fields)
        updates = [message for message in self.messages if message["type"] == "VOTE_UPDATE"]
        if len(updates) > 3:
            self.messages.remove(updates[2])
        return found


class TheChainHoldsOtherTallies(OneDoorLies):
    """The account shows one like less."""

    step = "the tallies and the approval reach the chain"

    async def account_bytes(self, market_id: MarketId) -> bytes:
        raw = bytearray(await self._real.account_bytes(market_id))
        if raw and raw[STATE_AT] == 1:
            raw[TALLIES_AT] -= 1
        return bytes(raw)


class TheClockStandsStill(OneDoorLies):
    """The aggregation grid is never reached, so nothing gets on chain."""

    approved_s_max = 1.0
    step = "the tallies and the approval reach the chain"

    async def advance_clock(self, seconds: int) -> None:
        return None


class TheApiLagsBehind(OneDoorLies):
    """The API still says what was true before the chain's answer."""

    step = "the API and the browser follow the chain"

    async def market(self, market_id: MarketId) -> market_service_pb2.GetMarketResponse:
        market = await self._real.market(market_id)
        market.state = "PROPOSED"
        return market


LIARS = [
    NothingIsCreated,
    TheSignatureIsForged,
    AStrangerDescribes,
    NobodyMaySubscribe,
    AVoteGoesAstray,
    TwiceIsTaken,
    TheBrowserMissesOne,
    TheChainHoldsOtherTallies,
    TheClockStandsStill,
    TheApiLagsBehind,
]


@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.__name__)
async def test_the_demo_fails_at_the_step_that_is_broken(
    liar: Any, system: RunningSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.demo.story.APPROVED_S_MAX", liar.approved_s_max)
    async with system.doors() as doors:
        with pytest.raises(StoryFailed) as failure:
            await tell(system, liar(doors))
    assert failure.value.step == liar.step
    assert not isinstance(failure.value.__cause__, grpc.aio.UsageError)
