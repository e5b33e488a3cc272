"""Adoption on first touch: a market that is only on chain so far enters by the first call that names it (P3)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from domain.commands import AdoptMarket, Command
from domain.deadlines import Deadline
from domain.ids import MarketId
from domain.market import VOTABLE_STATE, Market
from domain.observed import ObservedMarket
from domain.outcomes import Outcome
from domain.refusals import IllegalTransition, MarketNotFound, WrongState
from domain.tally import VoteType
from grpc_server.crew import work_through
from grpc_server.ports import AccountsUnavailable, CommandRouter, MarketAccounts, MarketBook, Outage
from grpc_server.problems import Rejected

READS_MAX = 8
"""Account reads at once; a public RPC endpoint takes about 40 in ten seconds."""
FLIGHTS_MAX = 256
"""Markets that wait for a read or are being read; one more is refused at once."""
READ_S_MAX = 4.0
"""For waiting and reading together; below every call's own deadline."""
LOOK_S = 3.0
"""How long a look is believed: a creator who votes right after creating, or a voter in a new state, waits no longer."""
LOOKS_MAX = 10_000
LOOKS_S_MAX = 8.0
"""For all markets that a bulk request makes us look at; below its deadline, so that its other votes are answered."""


class _Look(NamedTuple):
    """The last look at an account: how long it is believed, and whether there was one."""

    until_s: float
    found: bool


class Adoption:
    """Reads and commands about markets that may not be known here yet, or not as the chain has them by now (T105).

    One account read per market at a time, whoever asks, and none within LOOK_S of the last one. Raises what router,
    accounts and book raise.
    """

    def __init__(
        self, router: CommandRouter, accounts: MarketAccounts, book: MarketBook, monotonic_s: Callable[[], float]
    ) -> None:
        self._router = router
        self._accounts = accounts
        self._book = book
        self._monotonic_s = monotonic_s
        self._reads = asyncio.Semaphore(READS_MAX)
        self._flights: dict[MarketId, asyncio.Task[ObservedMarket | None]] = {}
        self._looks: dict[MarketId, _Look] = {}

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command; when a look at the chain takes away what it was refused for, carry it out once more."""
        outcome = await self._router.submit(command)
        if isinstance(outcome, MarketNotFound | WrongState | IllegalTransition) and await self._mended(outcome):
            return await self._router.submit(command)
        return outcome

    async def submit_many(self, commands: Sequence[Command]) -> list[Outcome | Outage]:
        """The same for many, in order; an outage stands for an outcome of its own and is not raised."""
        outcomes = list(await self._router.submit_many(commands))
        refusals = {
            outcome.market_id: outcome for outcome in outcomes if isinstance(outcome, MarketNotFound | WrongState)
        }
        mended = await self._mend_many(refusals.values()) if refusals else {}
        again = []
        for index, outcome in enumerate(outcomes):
            look = mended.get(outcome.market_id) if isinstance(outcome, MarketNotFound | WrongState) else None
            if isinstance(look, Outage):
                outcomes[index] = look
            elif look:
                again.append(index)
        if again:
            repeated = await self._router.submit_many([commands[index] for index in again])
            for index, outcome in zip(again, repeated, strict=True):
                outcomes[index] = outcome
        return outcomes

    async def read(self, market_id: MarketId) -> tuple[Market, Deadline | None]:
        """A market with its next deadline; rejects with MarketNotFound when the chain does not have it either."""
        row = await self._book.get(market_id)
        if row is None and await self.adopt(market_id):
            row = await self._book.get(market_id)
        if row is None:
            raise Rejected(MarketNotFound(market_id))
        return row

    async def read_votable(self, market_id: MarketId, vote_type: VoteType) -> Market:
        """A market after a look at the chain if it does not take such votes; rejects with MarketNotFound."""
        market, _ = await self.read(market_id)
        wanted = VOTABLE_STATE[vote_type]
        if market.state is not wanted and await self._mended(WrongState(market_id, market.state, wanted)):
            market, _ = await self.read(market_id)
        return market

    async def adopt(self, market_id: MarketId) -> bool:
        """Take a market in; False when there is no such account. A caller that goes away stops nobody else."""
        look = self._last_look(market_id)
        return look.found if look else await self._look(market_id) is not None

    async def close(self) -> None:
        """End every read under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _mended(self, refusal: MarketNotFound | WrongState | IllegalTransition) -> bool:
        """Whether a look at the chain took away what a command was refused for."""
        if isinstance(refusal, MarketNotFound):
            return await self.adopt(refusal.market_id)
        if self._last_look(refusal.market_id):
            return False
        try:
            observed = await self._look(refusal.market_id)
        except Outage:  # then the refusal stands, as last committed
            return False
        return observed is not None and observed.state is not refusal.actual

    async def _mend_many(self, refusals: Iterable[MarketNotFound | WrongState]) -> dict[MarketId, bool | Outage]:
        """The same for several markets; an outage for those that cannot be looked at in time."""
        mended: dict[MarketId, bool | Outage] = {
            refusal.market_id: AccountsUnavailable(f"not all markets could be read within {LOOKS_S_MAX} s")
            for refusal in refusals
        }

        async def mend(refusal: MarketNotFound | WrongState) -> None:
            try:
                mended[refusal.market_id] = await self._mended(refusal)
            except Outage as outage:
                mended[refusal.market_id] = outage

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOKS_S_MAX):
                await work_through(refusals, mend, READS_MAX)
        return mended

    async def _look(self, market_id: MarketId) -> ObservedMarket | None:
        flight = self._flights.get(market_id)
        if flight is None:
            flight = self._start(market_id)
        return await asyncio.shield(flight)

    def _start(self, market_id: MarketId) -> asyncio.Task[ObservedMarket | None]:
        if len(self._flights) >= FLIGHTS_MAX:
            raise AccountsUnavailable(f"{FLIGHTS_MAX} markets are being read already")
        flight = asyncio.create_task(self._fly(market_id), name=f"look at {market_id}")
        self._flights[market_id] = flight
        flight.add_done_callback(lambda done: self._landed(market_id, done))
        return flight

    def _landed(self, market_id: MarketId, flight: asyncio.Task[ObservedMarket | None]) -> None:
        del self._flights[market_id]
        if not flight.cancelled():
            flight.exception()  # every waiter has it; with none left nobody has to hear of it

    async def _fly(self, market_id: MarketId) -> ObservedMarket | None:
        observed = await self._observe(market_id)
        if observed is not None:
            await self._router.submit(AdoptMarket(market_id, observed))
        self._note(market_id, observed is not None)
        return observed

    async def _observe(self, market_id: MarketId) -> ObservedMarket | None:
        try:
            async with asyncio.timeout(READ_S_MAX), self._reads:
                return await self._accounts.market(market_id)
        except TimeoutError as error:
            raise AccountsUnavailable(f"no answer within {READ_S_MAX} s") from error

    def _last_look(self, market_id: MarketId) -> _Look | None:
        look = self._looks.get(market_id)
        return look if look and look.until_s > self._monotonic_s() else None

    def _note(self, market_id: MarketId, found: bool) -> None:
        """Remember, and drop from the oldest end what has expired or is too much."""
        now_s = self._monotonic_s()
        self._looks.pop(market_id, None)
        self._looks[market_id] = _Look(now_s + LOOK_S, found)
        while len(self._looks) > LOOKS_MAX or next(iter(self._looks.values())).until_s <= now_s:
            del self._looks[next(iter(self._looks))]
