"""Adoption on first touch: a market that is only on chain so far enters by the first call that names it (P3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from domain.commands import AdoptMarket, Command
from domain.deadlines import Deadline
from domain.ids import MarketId
from domain.market import Market
from domain.observed import ObservedMarket
from domain.outcomes import Outcome
from domain.refusals import MarketNotFound
from grpc_server.ports import AccountsUnavailable, CommandRouter, MarketAccounts, MarketBook
from grpc_server.problems import Rejected

READS_MAX = 8
"""Account reads at once; a public RPC endpoint takes about 40 in ten seconds."""
FLIGHTS_MAX = 256
"""Markets that wait for a read or are being read; one more is refused at once."""
READ_S_MAX = 4.0
"""For waiting and reading together; below every call's own deadline."""
ABSENT_S = 3.0
"""How long an absent account is believed absent: a creator who votes right after creating waits no longer."""
ABSENT_MAX = 10_000


class Adoption:
    """Reads and commands about markets that may not be known here yet.

    One account read per market at a time, whoever asks. Nobody makes us read an absent account more than once in
    ABSENT_S. Raises what router, accounts and book raise.
    """

    def __init__(
        self, router: CommandRouter, accounts: MarketAccounts, book: MarketBook, monotonic_s: Callable[[], float]
    ) -> None:
        self._router = router
        self._accounts = accounts
        self._book = book
        self._monotonic_s = monotonic_s
        self._reads = asyncio.Semaphore(READS_MAX)
        self._flights: dict[MarketId, asyncio.Task[bool]] = {}
        self._absent_until_s: dict[MarketId, float] = {}

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command; when its market is unknown, take the market in and carry it out once more."""
        outcome = await self._router.submit(command)
        if isinstance(outcome, MarketNotFound) and await self.adopt(command.market_id):
            return await self._router.submit(command)
        return outcome

    async def read(self, market_id: MarketId) -> tuple[Market, Deadline | None]:
        """A market with its next deadline; rejects with MarketNotFound when the chain does not have it either."""
        row = await self._book.get(market_id)
        if row is None and await self.adopt(market_id):
            row = await self._book.get(market_id)
        if row is None:
            raise Rejected(MarketNotFound(market_id))
        return row

    async def adopt(self, market_id: MarketId) -> bool:
        """Take a market in; False when there is no such account. A caller that goes away stops nobody else."""
        if self._absent_until_s.get(market_id, 0.0) > self._monotonic_s():
            return False
        flight = self._flights.get(market_id)
        if flight is None:
            flight = self._start(market_id)
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """End every read under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _start(self, market_id: MarketId) -> asyncio.Task[bool]:
        if len(self._flights) >= FLIGHTS_MAX:
            raise AccountsUnavailable(f"{FLIGHTS_MAX} markets are being read already")
        flight = asyncio.create_task(self._fly(market_id), name=f"adopt {market_id}")
        self._flights[market_id] = flight
        flight.add_done_callback(lambda done: self._landed(market_id, done))
        return flight

    def _landed(self, market_id: MarketId, flight: asyncio.Task[bool]) -> None:
        del self._flights[market_id]
        if not flight.cancelled():
            flight.exception()  # every waiter has it; with none left nobody has to hear of it

    async def _fly(self, market_id: MarketId) -> bool:
        observed = await self._observe(market_id)
        if observed is None:
            self._note_absent(market_id)
            return False
        await self._router.submit(AdoptMarket(market_id, observed))
        return True

    async def _observe(self, market_id: MarketId) -> ObservedMarket | None:
        try:
            async with asyncio.timeout(READ_S_MAX), self._reads:
                return await self._accounts.market(market_id)
        except TimeoutError as error:
            raise AccountsUnavailable(f"no answer within {READ_S_MAX} s") from error

    def _note_absent(self, market_id: MarketId) -> None:
        """Remember, and drop from the oldest end what has expired or is too much."""
        now_s = self._monotonic_s()
        self._absent_until_s.pop(market_id, None)
        self._absent_until_s[market_id] = now_s + ABSENT_S
        while len(self._absent_until_s) > ABSENT_MAX or next(iter(self._absent_until_s.values())) <= now_s:
            del self._absent_until_s[next(iter(self._absent_until_s))]
