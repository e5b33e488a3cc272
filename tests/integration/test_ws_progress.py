"""VOTING_PROGRESS: how open votes stand, on change and while nothing changes."""

from __future__ import annotations

import pytest

from tests.support.bridge import running_bridge
from tests.support.feed import MARKET, Book
from tests.support.valkey import ValkeyServer
from ws_bridge import progress

VOTES = f"votes_{MARKET}"


async def test_an_open_vote_is_told_on_every_change_and_while_nothing_changes(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.3)
    book = Book()
    book.open(VOTES)
    async with (
        running_bridge(valkey, book, progress=book) as running,
        running.notifier(),
        running.browser(f"/ws?channels={VOTES}") as browser,
    ):
        for _ in range(2):
            quiet = await browser.until(type="VOTING_PROGRESS", likes=0)
            assert (quiet["channel"], quiet["epoch"], quiet["seq"]) == (VOTES, "e1", 0)
        book.commit(VOTES)
        assert (await browser.until(type="VOTE_UPDATE"))["seq"] == 1
        assert (await browser.until(type="VOTING_PROGRESS", likes=1))["seq"] == 1


async def test_a_database_out_of_reach_means_silence_and_then_it_goes_on(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.3)
    book = Book()
    book.open(VOTES)
    async with (
        running_bridge(valkey, book, progress=book) as running,
        running.browser(f"/ws?channels={VOTES}") as browser,
    ):
        await browser.until(type="VOTING_PROGRESS")
        book.failures = 3
        while book.failures:
            await browser.until(type="VOTING_PROGRESS")
