"""Parts whose health a test decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from grpc_server import HealthParts

PARTS = ("database", "redis", "solana_rpc", "event_indexer")


class Condition:
    """How the parts are; `faults` has those that raise, `asked` every look at one."""

    def __init__(self) -> None:
        self.faults: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.breakers = {"https://rpc.example": False}
        self.connections = 42

    def probe(self, name: str) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            self.asked.append(name)
            if name in self.faults:
                raise self.faults[name]

        return ask

    def parts(self) -> HealthParts:
        database, redis, solana_rpc, event_indexer = map(self.probe, PARTS)
        return HealthParts(database, redis, solana_rpc, event_indexer, lambda: self.connections, lambda: self.breakers)
