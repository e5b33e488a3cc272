"""Several RPC endpoints of one cluster that stand in for each other: health, lag, patience, and one cluster only.

Each has a breaker of its own. A read goes to the best one and, on an outage, to the next at once; a send goes out once,
and what a lost answer means is the caller's to find out. An endpoint of another cluster is never asked anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from solders.commitment_config import CommitmentLevel
from solders.rpc.config import RpcContextConfig
from solders.rpc.requests import Body, GetGenesisHash, GetSlot
from solders.rpc.responses import GetGenesisHashResp, GetSlotResp

from chain.breaker import FAILURES_MAX, OPEN_S, Breaker, BreakerOpen
from chain.metrics import BREAKER_OPEN, RPC_CALLS
from chain.rpc import (
    RETRY_AFTER_S_MAX,
    ChainUnavailable,
    EndpointBusy,
    EndpointDown,
    OutageFacts,
    R,
    Rpc,
    RpcRefused,
    Sleep,
)

LAG_SLOTS_MAX = 50
"""An endpoint that is further behind the best one, 20 s, is left out while another can be asked."""
LOOK_S = 5.0
"""How often the slot of every endpoint is looked at."""
ROUNDS_MAX = 3
"""How often `ask` goes round all endpoints."""
PAUSE_S = 0.2
"""Wait after the first round without an answer; each further one doubles it."""
BUSY_S = 1.0
"""How long an endpoint is left alone that says 429 without Retry-After."""

_log = structlog.get_logger(__name__)


class NoEndpoint(ChainUnavailable):
    """No endpoint may be asked now; says why of each, and nothing was sent anywhere."""

    had_no_effect = True


class AnotherCluster(NoEndpoint):
    """Every endpoint is of another cluster than the one that is spoken to: only a person can mend that."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Bounds of the pool."""

    genesis_hash: str | None = None
    """The only cluster that is spoken to; None: that of the first endpoint which answers."""
    lag_slots_max: int = LAG_SLOTS_MAX
    breaker_failures_max: int = FAILURES_MAX
    breaker_open_s: float = OPEN_S


class Endpoint:
    """One endpoint, with what is known of its health."""

    def __init__(self, rpc: Rpc, breaker: Breaker, is_known: bool) -> None:
        self.rpc = rpc
        self.breaker = breaker
        self.is_known = is_known
        """Whether it is of our cluster; nothing else is asked before that."""
        self.foreign_genesis = ""
        """The other cluster's genesis hash while it is refused."""
        self.refused_until_s = 0.0
        self.busy_until_s = 0.0
        self.slot = 0
        """The newest confirmed slot it has shown, 0 before the first look."""

    def wait_s(self, now_s: float) -> float:
        """How long it may not be asked."""
        return max(self.breaker.wait_s, self.busy_until_s - now_s, self.refused_until_s - now_s, 0.0)

    def is_out(self, now_s: float) -> bool:
        """Whether it is given up for a while, and not merely busy."""
        return self.breaker.wait_s > 0 or self.refused_until_s > now_s

    def excuse(self, now_s: float) -> str:
        """Why it is not asked now."""
        if self.refused_until_s > now_s:
            return f"{self.rpc.endpoint} is of another cluster, genesis {self.foreign_genesis}"
        wait_s = self.wait_s(now_s)
        why = "failed repeatedly" if self.breaker.is_open else "asked for patience"
        return f"{self.rpc.endpoint} {why}, the next try is in {wait_s:.0f} s"


class RpcPool:
    """Implements `chain.rpc.Asking` over endpoints: in the order given, those that failed lately last."""

    def __init__(
        self,
        rpcs: Sequence[Rpc],
        settings: PoolSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        assert rpcs, "a pool without endpoints"
        self._settings = settings or PoolSettings()
        self._clock = clock
        self._sleep = sleep
        self._genesis = self._settings.genesis_hash
        is_alone = len(rpcs) == 1 and self._genesis is None  # with nothing to compare there is nothing to ask for
        self.endpoints = tuple(Endpoint(rpc, self._breaker(), is_known=is_alone) for rpc in rpcs)

    @property
    def endpoint(self) -> str:
        """All of them, without secrets."""
        return ", ".join(endpoint.rpc.endpoint for endpoint in self.endpoints)

    async def close(self) -> None:
        """Close every connection."""
        for endpoint in self.endpoints:
            await endpoint.rpc.close()

    async def ask(self, body: Body, parser: type[R]) -> R:
        """Ask the best endpoint, on an outage the next, and all of them again after a pause.

        Raises `RpcRefused` at once, `NoEndpoint` at once while every breaker is open, else `ChainUnavailable`.
        """
        pause_s = PAUSE_S
        for attempt in range(1, ROUNDS_MAX):
            try:
                return await self._ask_round(body, parser, attempt)
            except ChainUnavailable:
                if all(endpoint.is_out(self._clock()) for endpoint in self.endpoints):
                    raise
                await self._sleep(max(pause_s, self._wait_s()))
                pause_s *= 2
        return await self._ask_round(body, parser, ROUNDS_MAX)

    async def ask_once(self, body: Body, parser: type[R]) -> R:
        """Ask the best endpoint, and only it."""
        usable = self.usable()
        if not usable:
            raise self._nobody(body)
        return await self._ask(usable[0], body, parser)

    async def ask_each(self, body: Body, parser: type[R]) -> list[R]:
        """Ask every endpoint that may be asked; those that fail are left out, unless all do."""
        usable = self.usable()
        if not usable:
            raise self._nobody(body)
        answers = await asyncio.gather(*(self._ask(e, body, parser) for e in usable), return_exceptions=True)
        found = [answer for answer in answers if not isinstance(answer, BaseException)]
        troubles = [answer for answer in answers if isinstance(answer, BaseException)]
        for trouble in troubles:
            if not isinstance(trouble, ChainUnavailable) or not found:
                raise trouble
        return found

    def usable(self) -> list[Endpoint]:
        """Whom to ask now, best first."""
        now_s = self._clock()
        able = [endpoint for endpoint in self.endpoints if endpoint.wait_s(now_s) <= 0]
        newest = max((endpoint.slot for endpoint in able), default=0)
        near = [e for e in able if e.slot == 0 or newest - e.slot <= self._settings.lag_slots_max]
        return sorted(near, key=lambda endpoint: endpoint.breaker.has_failed_lately)

    async def watch(self) -> None:
        """Look at every endpoint's slot for ever; worth it with several only."""
        while len(self.endpoints) > 1:
            await self.look()
            await self._sleep(LOOK_S)

    async def look(self) -> None:
        """Ask every endpoint that may be asked for its confirmed slot."""
        now_s = self._clock()
        await asyncio.gather(*(self._measure(e) for e in self.endpoints if e.wait_s(now_s) <= 0))

    async def _measure(self, endpoint: Endpoint) -> None:
        body = GetSlot(RpcContextConfig(commitment=CommitmentLevel.Confirmed))
        try:
            endpoint.slot = (await self._ask(endpoint, body, GetSlotResp)).value
        except (ChainUnavailable, RpcRefused) as trouble:
            _log.warning("rpc.not_measured", endpoint=endpoint.rpc.endpoint, fault=str(trouble))

    async def _ask_round(self, body: Body, parser: type[R], attempt: int) -> R:
        outage: ChainUnavailable | None = None
        for endpoint in self.usable():
            try:
                return await self._ask(endpoint, body, parser, attempt)
            except ChainUnavailable as failure:
                outage = failure
        raise outage or self._nobody(body)

    async def _ask(self, endpoint: Endpoint, body: Body, parser: type[R], attempt: int = 1) -> R:
        if not endpoint.is_known:
            await self._recognise(endpoint)
        with self._minding(endpoint, body):
            return await endpoint.rpc.ask_once(body, parser, attempt)

    async def _recognise(self, endpoint: Endpoint) -> None:
        body = GetGenesisHash()
        with self._minding(endpoint, body):
            found = str((await endpoint.rpc.ask_once(body, GetGenesisHashResp)).value)
        self._genesis = self._genesis or found
        if found == self._genesis:
            endpoint.is_known = True
            return
        endpoint.foreign_genesis = found
        endpoint.refused_until_s = self._clock() + self._settings.breaker_open_s
        mend = "remove it, or correct ZMART_GENESIS_HASH"
        _log.error("rpc.another_cluster", endpoint=endpoint.rpc.endpoint, genesis=found, ours=self._genesis, mend=mend)
        raise self._nobody(body)

    @contextmanager
    def _minding(self, endpoint: Endpoint, body: Body) -> Iterator[None]:
        """Count an outage against the endpoint, and give it the patience that it asks for."""
        outcome = "failed"
        try:
            with endpoint.breaker.attempt():
                yield
            outcome = "answered"
        except RpcRefused:
            outcome = "refused"
            raise
        except BreakerOpen as refusal:
            outcome = "not_asked"
            raise NoEndpoint(OutageFacts(endpoint.rpc.endpoint, _name(body), 0, str(refusal), refusal.wait_s)) from None
        except EndpointBusy as busy:
            wait_s = BUSY_S if busy.facts.retry_after_s is None else busy.facts.retry_after_s
            endpoint.busy_until_s = self._clock() + min(wait_s, RETRY_AFTER_S_MAX)
            outcome = "busy"
            raise
        finally:
            RPC_CALLS.labels(_name(body), outcome).inc()
            BREAKER_OPEN.labels(endpoint.rpc.endpoint).set(endpoint.breaker.is_open)

    def _breaker(self) -> Breaker:
        settings = self._settings
        return Breaker(self._clock, (EndpointDown,), settings.breaker_failures_max, settings.breaker_open_s)

    def _wait_s(self) -> float:
        """How long until the first endpoint may be asked that is not given up."""
        now_s = self._clock()
        return min((e.wait_s(now_s) for e in self.endpoints if not e.is_out(now_s)), default=0.0)

    def _nobody(self, body: Body) -> NoEndpoint:
        now_s = self._clock()
        wait_s = min(endpoint.wait_s(now_s) for endpoint in self.endpoints)
        excuses = "; ".join(endpoint.excuse(now_s) for endpoint in self.endpoints)
        is_foreign = all(endpoint.refused_until_s > now_s for endpoint in self.endpoints)
        kind = AnotherCluster if is_foreign else NoEndpoint
        return kind(OutageFacts(self.endpoint, _name(body), 0, excuses, wait_s))


def _name(body: Body) -> str:
    return type(body).__name__
