"""Events between messages and the domain: which are asked for, and how they are shown (decisions A2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from domain.event_listing import EventFilter, EventMatch, EventPlace, IndexedEvent
from grpc_server import translate
from grpc_server.page_tokens import Place
from grpc_server.problems import Invalid, violation
from zmart.v1 import event_service_pb2 as pb

LIMIT, LIMIT_MAX = 100, 1_000
SEARCH_LIMIT, SEARCH_LIMIT_MAX = 20, 100
OFFSET_MAX = 10_000
"""What is skipped has to be read; a page token costs nothing (T41)."""

_WORD = re.compile(r"[0-9A-Za-z]{3,88}")
"""The beginning of base58 text or of a type's name: nothing that means something in a pattern."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")


def listing(request: pb.ListEventsRequest, types: Sequence[str]) -> tuple[EventFilter, int, int]:
    """Which events are wanted, the size of the page, and how many are skipped on the first one."""
    if request.event_type and request.event_type not in types:
        raise violation(Invalid.EVENT_TYPE_UNKNOWN, "event_type", request.event_type)
    since, until = _instant("from", request.from_time), _instant("to", request.to_time)
    if since is not None and until is not None and since >= until:
        raise violation(Invalid.TIME_RANGE_EMPTY, "to", request.to_time)
    wanted = EventFilter(
        market_id=translate.market_id(request.market_id) if request.market_id else None,
        event_type=request.event_type or None,
        since=since,
        until=until,
    )
    return wanted, _limit(request.limit, LIMIT, LIMIT_MAX), _offset(request.offset)


def search(request: pb.SearchEventsRequest, types: Sequence[str]) -> tuple[EventMatch, int]:
    """What to search for, and the size of the page. Names of types fit in any case, base58 only as it is written."""
    if not _WORD.fullmatch(request.q):
        raise violation(Invalid.SEARCH_WORD_MALFORMED, "q", request.q)
    beginning = request.q.lower()
    fitting = tuple(name for name in types if name.lower().startswith(beginning))
    return EventMatch(request.q, fitting), _limit(request.limit, SEARCH_LIMIT, SEARCH_LIMIT_MAX)


def place_token(place: EventPlace) -> Place:
    """A place as page tokens hold it."""
    return place.block_slot, f"{place.block_index}.{place.transaction_signature}.{place.event_index}"


def token_place(token: Place | None) -> EventPlace | None:
    """The reverse of `place_token`; the token is signed, so it holds what we put in."""
    if token is None:
        return None
    index, signature, ordinal = token[1].split(".")
    return EventPlace(token[0], int(index), signature, int(ordinal))


def list_response(
    page: Sequence[IndexedEvent], total: int, has_more: bool, next_page_token: str
) -> pb.ListEventsResponse:
    """One page of events."""
    events = [_event(event) for event in page]
    return pb.ListEventsResponse(events=events, total_count=total, has_more=has_more, next_page_token=next_page_token)


def search_response(
    page: Sequence[IndexedEvent], total: int, has_more: bool, next_page_token: str
) -> pb.SearchEventsResponse:
    """One page of what was found."""
    events = [_event(event) for event in page]
    return pb.SearchEventsResponse(events=events, total_count=total, has_more=has_more, next_page_token=next_page_token)


def _event(event: IndexedEvent) -> pb.Event:
    timestamp = Timestamp()
    timestamp.FromDatetime(event.timestamp)
    return pb.Event(
        transaction_signature=event.place.transaction_signature,
        event_index=event.place.event_index,
        block_slot=event.place.block_slot,
        event_type=event.event_type,
        market_id=event.market_id or "",
        event_data=_struct(event.data),
        timestamp=timestamp,
        commitment=event.commitment,
    )


def _struct(data: Mapping[str, Any]) -> Struct:
    struct = Struct()
    struct.update(data)
    return struct


def _instant(field: str, text: str) -> datetime | None:
    """RFC 3339, or a date for its first instant in UTC."""
    if not text:
        return None
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        if _INSTANT.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # the 31st of February, or an instant before the year 1
    raise violation(Invalid.TIME_MALFORMED, field, text)


def _limit(asked: int, usual: int, most: int) -> int:
    if asked < 0:
        raise violation(Invalid.PAGE_SIZE_NEGATIVE, "limit", asked)
    return min(asked or usual, most)


def _offset(asked: int) -> int:
    if not 0 <= asked <= OFFSET_MAX:
        raise violation(Invalid.OFFSET_OUT_OF_RANGE, "offset", asked)
    return asked
