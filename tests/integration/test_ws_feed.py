"""The Redis stream as a feed: where it starts, and how it finds that something is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.support.feed import MARKET, Book
from tests.support.valkey import ValkeyServer
from ws_bridge import FEED_STREAM, RedisFeed
from ws_bridge.ports import Batch
from ws_bridge.relay import FIELDS, entry_values

CHANNEL = f"market_{MARKET}"


@pytest.fixture
async def feed(valkey: ValkeyServer) -> AsyncIterator[RedisFeed]:
    feed = RedisFeed(valkey.url)
    yield feed
    await feed.close()


class Writer:
    """Adds entries as the notifier would."""

    def __init__(self, valkey: ValkeyServer) -> None:
        self.client = valkey.client()
        self.book = Book()
        self.book.open(CHANNEL)

    async def add(self, count: int = 1) -> None:
        for _ in range(count):
            await self.client.xadd(FEED_STREAM, dict(zip(FIELDS, entry_values(self.book.commit(CHANNEL)), strict=True)))


@pytest.fixture
async def writer(valkey: ValkeyServer) -> AsyncIterator[Writer]:
    writer = Writer(valkey)
    yield writer
    await writer.client.aclose()


def seqs(batch: Batch) -> list[int]:
    return [entry.seq for entry in batch.entries]


async def test_only_what_comes_after_the_start_position_is_read(feed: RedisFeed, writer: Writer) -> None:
    await writer.add(2)
    await feed.open()
    await writer.add(2)
    batch = await feed.next_batch()
    assert (seqs(batch), batch.history_lost) == ([3, 4], False)


async def test_a_tally_arrives_in_both_channels_of_its_market_under_the_number_of_each(
    feed: RedisFeed, writer: Writer
) -> None:
    await feed.open()
    row = replace(writer.book.commit(CHANNEL), votes_seq=7)
    await writer.client.xadd(FEED_STREAM, dict(zip(FIELDS, entry_values(row), strict=True)))
    (tally,) = (await feed.next_batch()).entries
    assert tally.places == ((CHANNEL, 1), (f"votes_{MARKET}", 7))


async def test_an_entry_of_the_notifier_before_this_one_is_read_as_it_was_meant(
    feed: RedisFeed, writer: Writer
) -> None:
    await feed.open()
    values = zip(FIELDS, entry_values(writer.book.commit(CHANNEL)), strict=True)
    await writer.client.xadd(FEED_STREAM, {name: value for name, value in values if name != "votes_seq"})
    assert [each.places for each in (await feed.next_batch()).entries] == [((CHANNEL, 1),)]


async def test_the_first_entries_of_a_new_stream_are_read(feed: RedisFeed, writer: Writer) -> None:
    await feed.open()
    await writer.add(2)
    assert (seqs(await feed.next_batch()), feed.connected) == ([1, 2], True)


async def test_an_idle_second_is_an_empty_batch(feed: RedisFeed, writer: Writer) -> None:
    await writer.add()
    await feed.open()
    assert await feed.next_batch() == Batch()


async def test_a_stream_that_was_replaced_is_noticed_with_its_first_entries(feed: RedisFeed, writer: Writer) -> None:
    await writer.add()
    await feed.open()
    await writer.client.delete(FEED_STREAM)
    await writer.add()
    batch = await feed.next_batch()
    assert (seqs(batch), batch.history_lost) == ([2], True)
    await writer.add()
    batch = await feed.next_batch()
    assert (seqs(batch), batch.history_lost) == ([3], False)


async def test_a_stream_that_was_trimmed_past_the_reader_is_noticed(feed: RedisFeed, writer: Writer) -> None:
    await writer.add()
    await feed.open()
    await writer.add(3)
    await writer.client.xtrim(FEED_STREAM, maxlen=1, approximate=False)
    batch = await feed.next_batch()
    assert (seqs(batch), batch.history_lost) == ([4], True)


async def test_an_outage_loses_nothing_as_long_as_the_stream_is_still_there(
    feed: RedisFeed, writer: Writer, valkey: ValkeyServer
) -> None:
    await writer.add()
    await feed.open()
    assert await writer.client.client_kill_filter(_type="normal", skipme=True) == 1
    await writer.add()
    batch = await feed.next_batch()
    assert (seqs(batch), batch.history_lost) == ([2], False)


@pytest.mark.parametrize(
    ("changed", "error"),
    [({"channel": None}, "KeyError"), ({"seq": "one"}, "ValueError"), ({"payload": "{"}, "JSONDecodeError")]
    + [({"payload": text}, "ValueError") for text in ("[]", "7", "null")],
)
async def test_a_foreign_entry_is_passed_over(
    feed: RedisFeed, writer: Writer, caplog: pytest.LogCaptureFixture, changed: dict[str, str | None], error: str
) -> None:
    await feed.open()
    values = dict(zip(FIELDS, entry_values(writer.book.commit(CHANNEL)), strict=True)) | changed
    await writer.client.xadd(FEED_STREAM, {name: value for name, value in values.items() if value is not None})
    await writer.add()
    assert seqs(await feed.next_batch()) == [2]
    assert f"cannot be read: {error}" in caplog.text
