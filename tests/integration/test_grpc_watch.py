"""A market watched over gRPC: nothing missed, nothing twice, from any token, and each end with its reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from grpc_server import BookUnavailable
from grpc_server.page_tokens import PageTokens
from grpc_server.problems import Rejected, TooManyWatches, WatchTooSlow
from grpc_server.watches import CHANGES_AT_ONCE_MAX, WAITING_MAX, Told, Watches
from tests.support.eventually import eventually_async
from tests.support.grpc_parts import Person, Served, failure_of, market_id_of, observed, served
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceStub

MARKET, OTHER = market_id_of(1), market_id_of(2)
Stream = AsyncIterator[pb.WatchMarketResponse]


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served(bookmark_s=0.1) as running:
        for number in (1, 2):
            running.accounts.put(observed(number, Person().wallet))
            await MarketServiceStub(running.channel).GetMarket(pb.GetMarketRequest(market_id=market_id_of(number)))
        yield running


def watch(running: Served, token: str = "", market_id: str = MARKET) -> Stream:
    request = pb.WatchMarketRequest(market_id=market_id, resume_token=token)
    stream: Stream = aiter(MarketServiceStub(running.channel).WatchMarket(request))
    return stream


async def changes(stream: Stream, count: int) -> list[pb.WatchMarketResponse]:
    """The next changes, whatever bookmarks are between them."""
    found: list[pb.WatchMarketResponse] = []
    while len(found) < count:
        message = await anext(stream)
        if message.WhichOneof("update") == "change":
            found.append(message)
    return found


async def reason_of_end(stream: Stream) -> tuple[StatusCode, str]:
    with pytest.raises(AioRpcError) as caught:
        async for _ in stream:
            pass
    failed = failure_of(caught.value)
    return failed.code, failed.info.reason


async def test_a_watch_is_a_snapshot_and_then_every_change_in_order(running: Served) -> None:
    running.told.put(MARKET, likes=1)
    stream = watch(running)
    first = await anext(stream)
    assert first.snapshot.market_id == MARKET
    assert first.snapshot.next_deadline.seconds
    for likes in range(2, 5):
        running.told.put(MARKET, likes=likes)
        running.told.put(OTHER, likes=99)
    told = [message.change for message in await changes(stream, 3)]
    assert [(change.seq, change.type, change.payload["likes"]) for change in told] == [
        (2, "VOTE_UPDATE", 2),
        (3, "VOTE_UPDATE", 3),
        (4, "VOTE_UPDATE", 4),
    ]


async def test_from_any_token_a_watch_goes_on_right_after_it(running: Served) -> None:
    stream = watch(running)
    tokens = [(await anext(stream)).resume_token]
    count = CHANGES_AT_ONCE_MAX + 2  # more than one question brings
    for number in range(count):
        running.told.put(MARKET, n=number)
    tokens += [message.resume_token for message in await changes(stream, count)]
    for place in (0, 1, count - 1):
        resumed = await changes(watch(running, tokens[place]), count - place)
        assert [message.change.seq for message in resumed] == list(range(place + 1, count + 1))
        assert [message.resume_token for message in resumed] == tokens[place + 1 :]


async def test_a_watch_far_behind_takes_nothing_from_those_that_are_up_to_date(running: Served) -> None:
    stream = watch(running)
    token = (await anext(stream)).resume_token
    running.told.put(MARKET, n=1)
    await changes(stream, 1)
    behind = watch(running, token)
    await changes(behind, 1)
    running.told.put(MARKET, n=2)
    assert [message.change.seq for message in (await changes(stream, 1) + await changes(behind, 1))] == [2, 2]


async def test_silence_is_a_bookmark_whose_token_misses_nothing(running: Served) -> None:
    stream = watch(running)
    await anext(stream)
    bookmark = await anext(stream)
    assert (bookmark.WhichOneof("update"), bookmark.bookmark.seq) == ("bookmark", 0)
    running.told.put(MARKET, n=1)
    resumed = watch(running, bookmark.resume_token)
    assert (await anext(resumed)).WhichOneof("update") == "bookmark"  # it is open, and where
    assert [message.change.seq for message in await changes(resumed, 1)] == [1]


async def test_a_token_is_worth_nothing_when_it_is_no_token_of_this_watch(running: Served) -> None:
    token = (await anext(watch(running))).resume_token
    for forged, market_id in (("abc", MARKET), (token, OTHER), (token[:-2], MARKET)):
        ended = await reason_of_end(watch(running, forged, market_id))
        assert ended == (StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")


async def test_a_token_from_before_what_is_kept_says_so(running: Served) -> None:
    token = (await anext(watch(running))).resume_token
    for number in range(3):
        running.told.put(MARKET, n=number)
    for _ in range(3):
        del running.told.rows[0]
        ended = await reason_of_end(watch(running, token))
        assert ended == (StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")


async def test_another_stored_history_ends_every_watch_and_every_token(running: Served) -> None:
    stream = watch(running)
    token = (await anext(stream)).resume_token
    running.told.epoch = "restored"
    running.told.put(MARKET, n=1)
    assert await reason_of_end(stream) == (StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")
    assert await reason_of_end(watch(running, token)) == (StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")


async def test_a_market_that_nobody_knows_cannot_be_watched(running: Served) -> None:
    ended = await reason_of_end(watch(running, market_id=market_id_of(9)))
    assert ended == (StatusCode.NOT_FOUND, "MARKET_NOT_FOUND")


async def test_an_outage_is_waited_for_in_silence_and_nothing_is_missed(running: Served) -> None:
    stream = watch(running)
    await anext(stream)
    running.told.outage = BookUnavailable("away")
    running.told.put(MARKET, n=1)
    assert await reason_of_end(watch(running)) == (StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    running.told.outage = None
    assert [message.change.seq for message in await changes(stream, 1)] == [1]


async def test_a_stopping_server_ends_watches_with_words_and_the_last_token_goes_on(running: Served) -> None:
    stream = watch(running)
    token = (await anext(stream)).resume_token
    cut_off = await running.server.stop(5)
    assert cut_off == 0
    assert await reason_of_end(stream) == (StatusCode.UNAVAILABLE, "SERVER_STOPPING")
    assert PageTokens(b"p" * 32, running.clock.now_s).place(token, f"WatchMarket {MARKET}") == (0, "a history")


async def test_a_watcher_that_leaves_leaves_nothing_behind(running: Served) -> None:
    for _ in range(20):
        call = MarketServiceStub(running.channel).WatchMarket(pb.WatchMarketRequest(market_id=MARKET))
        await anext(aiter(call))
        call.cancel()

    async def nobody() -> bool:
        return running.server.in_flight == 0

    await eventually_async(nobody)


async def test_a_reader_that_is_too_slow_is_ended_after_what_fits(running: Served) -> None:
    watches = Watches(running.told)
    read: list[Told] = []
    async with aclosing(watches.messages(MARKET, None)) as slow, aclosing(watches.messages(MARKET, None)) as quick:
        read += [await anext(slow), await anext(quick)]
        running.told.put(MARKET, n=0)
        read += [await anext(slow), await anext(quick)]
        for number in range(WAITING_MAX + 1):
            running.told.put(MARKET, n=number)
            await anext(quick)
        with pytest.raises(Rejected) as caught:
            async for told in slow:
                read.append(told)
    await watches.close()
    assert caught.value.problem == WatchTooSlow(WAITING_MAX)
    assert read[-1].place == (WAITING_MAX + 1, "a history")


async def test_a_server_takes_a_bounded_number_of_watches(running: Served) -> None:
    watches = Watches(running.told, watches_max=1)
    async with aclosing(watches.messages(MARKET, None)) as first, aclosing(watches.messages(MARKET, None)) as second:
        await anext(first)
        with pytest.raises(Rejected) as caught:
            await anext(second)
        assert caught.value.problem == TooManyWatches(1)
    await watches.close()
