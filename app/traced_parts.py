"""Parts that put a span around what goes through them, on the way to actors and to the chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

from domain.commands import Command
from domain.outcomes import Outcome

if TYPE_CHECKING:  # shards have neither a server nor a chain
    from solders.rpc.requests import Body
    from solders.rpc.responses import RPCResult

    from chain.rpc import Asking
    from grpc_server import Outage
    from grpc_server.ports import CommandRouter

R = TypeVar("R", bound="RPCResult")
Inside = Callable[[str, Mapping[str, str | int]], AbstractContextManager[None]]
"""Makes a span of a name and its attributes."""


class TracedRouter:
    """A span from a command's way into its batch to the answer of its actor."""

    def __init__(self, inside: Inside, router: CommandRouter) -> None:
        self._inside = inside
        self._router = router

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command."""
        attributes = {"zmart.market_id": command.market_id}
        with self._inside(f"actor {type(command).__name__}", attributes):
            return await self._router.submit(command)

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Outcome | Outage]:
        """Carry out many commands."""
        with self._inside("actors many", {"zmart.commands": len(commands)}):
            return await self._router.submit_many(commands)


class TracedAsking:
    """A span around each request, its repetitions included."""

    def __init__(self, inside: Inside, rpc: Asking) -> None:
        self._inside = inside
        self._rpc = rpc

    @property
    def endpoint(self) -> str:
        """Where it asks, without secrets."""
        return self._rpc.endpoint

    async def ask(self, body: Body, parser: type[R]) -> R:
        """Ask and, on an outage, ask again."""
        with self._request(body):
            return await self._rpc.ask(body, parser)

    async def ask_once(self, body: Body, parser: type[R]) -> R:
        """Ask exactly once."""
        with self._request(body):
            return await self._rpc.ask_once(body, parser)

    async def ask_each(self, body: Body, parser: type[R]) -> list[R]:
        """Ask every endpoint."""
        with self._request(body):
            return await self._rpc.ask_each(body, parser)

    async def close(self) -> None:
        """Close all connections."""
        await self._rpc.close()

    def _request(self, body: Body) -> AbstractContextManager[None]:
        method = type(body).__name__
        attributes = {"rpc.system.name": "jsonrpc", "rpc.method": method, "server.address": self._rpc.endpoint}
        return self._inside(f"chain {method}", attributes)
