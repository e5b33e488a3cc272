"""EventService: the program's events as they were indexed."""
# ruff: noqa: N802, ARG002 - grpc calls these methods by the contract's names and hands each a context

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpc.aio import ServicerContext

from domain.event_listing import IndexedEvent
from grpc_server import translate_events
from grpc_server.page_tokens import PageTokens
from grpc_server.ports import EventBook
from zmart.v1 import event_service_pb2 as pb
from zmart.v1.event_service_pb2_grpc import EventServiceServicer


class EventService(EventServiceServicer):
    """Pages come from the book; each asks for one event more, which says whether there is another page."""

    def __init__(self, book: EventBook, types: Sequence[str], page_tokens: PageTokens) -> None:
        """`types` are all names that an event can have."""
        self._book = book
        self._types = types
        self._page_tokens = page_tokens

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListEventsResponse:
        """Answer one page, newest first; a page token goes on where it ended, whatever came meanwhile."""
        wanted, size, offset = translate_events.listing(request, self._types)
        conditions = f"ListEvents {wanted} {offset}"
        after = translate_events.token_place(self._page_tokens.read(request.page_token, conditions))
        rows = await self._book.list(wanted, after, size + 1, 0 if after else offset)
        total = await self._book.count(wanted)
        return translate_events.list_response(rows[:size], total, len(rows) > size, self._token(rows, size, conditions))

    async def SearchEvents(
        self, request: pb.SearchEventsRequest, context: ServicerContext[Any, Any]
    ) -> pb.SearchEventsResponse:
        """Answer one page of what fits, newest first."""
        match, size = translate_events.search(request, self._types)
        conditions = f"SearchEvents {match.prefix}"
        after = translate_events.token_place(self._page_tokens.read(request.page_token, conditions))
        rows = await self._book.search(match, after, size + 1)
        total = await self._book.count_found(match)
        token = self._token(rows, size, conditions)
        return translate_events.search_response(rows[:size], total, len(rows) > size, token)

    def _token(self, rows: Sequence[IndexedEvent], size: int, conditions: str) -> str:
        if len(rows) <= size:
            return ""
        return self._page_tokens.issue(translate_events.place_token(rows[size - 1].place), conditions)
