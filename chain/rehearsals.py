"""What a transaction would use, simulated; where many wait to be signed, one simulation stands for others like it.

A simulation costs the agent as much as the send, and the send's own preflight would refuse what a simulation refuses.
"""

from __future__ import annotations

from collections.abc import Callable

from chain.gateway import Gateway, Simulation
from chain.signing import Draft, FreshBlockhash, unsigned
from domain.intents import Action, Intent

BACKLOG_MIN = 32
"""Attempts that wait to be signed at once, from which on not each is simulated: twice what a round signs at once."""
KEPT_S = 30.0
"""How long one simulation stands for others; then the next attempt is simulated anew."""


class Rehearsals:
    """Simulates drafts before they are signed. A repeated attempt is always simulated itself: the first one failed."""

    def __init__(self, gateway: Gateway, clock: Callable[[], float]) -> None:
        self._gateway = gateway
        self._clock = clock
        self._waiting = 0
        self._used: dict[tuple[Action, bool], tuple[int, float]] = {}

    def expect(self, waiting: int) -> None:
        """So many attempts wait to be signed in this round."""
        self._waiting = waiting

    async def of(self, intent: Intent, draft: Draft, fresh: FreshBlockhash) -> Simulation:
        """What the draft would do and use on a state no older than `fresh`; raises `ChainUnavailable`."""
        kind = (intent.action, intent.pair is None)
        units, until_s = self._used.get(kind, (0, 0.0))
        if intent.attempt == 1 and self._waiting >= BACKLOG_MIN and self._clock() < until_s:
            return Simulation(None, units)
        simulation = await self._gateway.simulate(unsigned(draft), fresh.slot)
        if simulation.failure is None and simulation.units is not None:
            most = max(simulation.units, units) if self._clock() < until_s else simulation.units
            self._used[kind] = (most, self._clock() + KEPT_S)
        return simulation
