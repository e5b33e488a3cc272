"""What operators ask of a bridge: who is connected, and to close a wallet's connections."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from domain.connections import BridgeAnswer, BridgeOrder
from ws_bridge.backoff import Backoff

BEAT_S = 5.0
"""A third of the time after which a silent bridge is no longer waited for."""

log = logging.getLogger(__name__)


class Orders(Protocol):
    """Where orders come from; every call raises OSError while the database is out of reach."""

    async def beat(self, connections: int) -> None:
        """This bridge lives."""
        ...

    async def open(self) -> Sequence[BridgeOrder]:
        """What it has not answered, oldest first."""
        ...

    async def answer(self, order_id: str, answer: BridgeAnswer) -> None:
        """Done; the first answer stands."""
        ...

    async def wait(self, timeout_s: float) -> None:
        """Return when there may be orders, or after `timeout_s`."""
        ...


class Obedient(Protocol):
    """The bridge, as far as orders go."""

    @property
    def connections(self) -> int:
        """How many are open."""
        ...

    def obey(self, order: BridgeOrder) -> BridgeAnswer:
        """Carry out; closing again finds nothing more to close."""
        ...


async def take_orders(bridge: Obedient, orders: Orders) -> None:
    """Until it is cancelled. A database out of reach means that operators hear nothing; browsers go on."""
    backoff = Backoff()
    while True:
        try:
            await orders.beat(bridge.connections)
            for order in await orders.open():
                answer = bridge.obey(order)
                if order.is_kick:
                    log.warning("closed %d connections by order %s", answer.matching, order.order_id)
                await orders.answer(order.order_id, answer)
            await orders.wait(BEAT_S)
            backoff.reset()
        except OSError as error:
            log.info("no orders can be read: %s", error)
            await backoff.pause()
