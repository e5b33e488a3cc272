"""Another epoch: the database was restored, and no client may go on as if it had not been."""

from __future__ import annotations

from tests.support.feed import MARKET, NOW_S, OTHER_MARKET, State
from tests.support.wire import Client, Stage
from ws_bridge import frames
from ws_bridge.frames import Position
from ws_bridge.packets import packet
from ws_bridge.ports import Batch, FeedEntry
from ws_bridge.subscription import Sheet

BUSY, SILENT = f"market_{MARKET}", f"market_{OTHER_MARKET}"


def entry(epoch: str, seq: int, channel: str = BUSY) -> FeedEntry:
    return FeedEntry(channel, epoch, seq, "VOTE_UPDATE", "t", f'{{"likes": {seq}}}')


def answer(stage: Stage, channel: str, epoch: str, seq: int) -> None:
    state = State(epoch, seq, {"likes": seq})
    sheet = Sheet(channel, Position(epoch, seq), packet(frames.snapshot(channel, state, NOW_S)))
    stage.desk.answer(stage.begun.pop(0), sheet)


def follower(stage: Stage, channel: str) -> Client:
    """A client that holds message 5 of the first epoch."""
    client = stage.connect(channel)
    answer(stage, channel, "e1", 5)
    client.line.take()
    return client


def test_a_restored_database_is_told_to_channels_that_are_silent_too() -> None:
    stage = Stage()
    follower(stage, BUSY)
    client = follower(stage, SILENT)
    stage.hub.deliver(Batch((entry("e1", 6),)))
    stage.hub.deliver(Batch((entry("e2", 1),)))
    (read,) = [read for read in stage.begun if read.channel == SILENT]
    stage.begun = [read]
    answer(stage, SILENT, "e2", 0)
    confirmed, snapshot = client.line.take()
    assert (confirmed["recovered"], snapshot["type"], snapshot["epoch"]) == (False, "SNAPSHOT", "e2")


def test_a_late_message_of_the_former_epoch_has_nobody_silent_start_over_again() -> None:
    stage = Stage()
    follower(stage, SILENT)
    stage.hub.deliver(Batch((entry("e1", 6), entry("e2", 1))))
    answer(stage, SILENT, "e2", 0)
    stage.hub.deliver(Batch((entry("e1", 7), entry("e2", 2))))
    assert stage.begun == []


def test_the_epoch_that_a_bridge_finds_at_its_start_is_no_news() -> None:
    stage = Stage()
    stage.hub.remember([entry("e1", 4), entry("e1", 5)])
    follower(stage, SILENT)
    stage.hub.deliver(Batch((entry("e1", 6),)))
    assert stage.begun == []
