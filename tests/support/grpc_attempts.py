"""Attempts at instructions in memory, for the gRPC server's tests."""

from __future__ import annotations

from collections.abc import Callable

from domain.intents import Intent, IntentStatus
from grpc_server import Attempt


class Attempts:
    """Implements `grpc_server.ports.AttemptBook`; `on_look` is called at every look, as time would pass."""

    def __init__(self) -> None:
        self.planned: dict[str, Intent] = {}
        self.rows: dict[str, Attempt] = {}
        self.on_look: Callable[[], None] = lambda: None

    def plan(self, intent: Intent) -> None:
        """A planned attempt is sent at once, unless the test says otherwise."""
        self.planned[intent.intent_id] = intent
        self.end(intent.intent_id, IntentStatus.SENT)

    def end(self, intent_id: str, status: IntentStatus, error_name: str = "") -> None:
        self.rows[intent_id] = Attempt(intent_id, status, "sig", error_name)

    async def attempt(self, intent_id: str) -> Attempt | None:
        self.on_look()
        return self.rows.get(intent_id)
