"""What is kept for clients that come back: exact or nothing, and bounded."""

from __future__ import annotations

import json

import pytest

from tests.support.feed import MARKET
from tests.support.wire import Stage
from ws_bridge import frames
from ws_bridge.admission import AdmissionLimits
from ws_bridge.frames import Position
from ws_bridge.history import History, HistoryBounds
from ws_bridge.packets import text_frame
from ws_bridge.parcels import Numbered, parcels
from ws_bridge.ports import Batch, FeedEntry

CHANNEL = f"market_{MARKET}"


def message(seq: int, epoch: str = "e1", channel: str = CHANNEL) -> Numbered:
    entry = FeedEntry(channel, epoch, seq, "VOTE_UPDATE", "t", "{}")
    return Numbered(entry, channel, seq, frames.numbered)


def recorded(*messages: Numbered, bounds: HistoryBounds | None = None) -> History:
    history = History(bounds or HistoryBounds(), lambda: 0.0)
    history.record(messages)
    return history


def seqs(history: History, seq: int, epoch: str = "e1", channel: str = CHANNEL) -> list[int] | None:
    missed = history.since(channel, Position(epoch, seq))
    return None if missed is None else [each.seq for each in missed]


def test_what_was_missed_is_told_exactly_or_not_at_all() -> None:
    history = recorded(*map(message, range(5, 9)))
    assert seqs(history, 4) == [5, 6, 7, 8]
    assert seqs(history, 6) == [7, 8]
    assert seqs(history, 8) == []
    assert seqs(history, 3) is None, "message 4 is not there"
    assert seqs(history, 9) is None, "the client has more than this process"
    assert seqs(history, 6, epoch="e2") is None
    assert seqs(history, 6, channel="votes_other") is None


def test_a_gap_and_another_epoch_end_what_can_be_resumed() -> None:
    history = recorded(message(1), message(2), message(4))
    assert (seqs(history, 2), seqs(history, 3)) == (None, [4])
    history.record([message(5, epoch="e2")])
    assert (seqs(history, 4), seqs(history, 4, epoch="e2")) == (None, [5])


def test_what_the_notifier_repeats_is_kept_once() -> None:
    assert seqs(recorded(message(1), message(2), message(1), message(2), message(3)), 0) == [1, 2, 3]


def test_count_bytes_and_age_bound_what_is_kept() -> None:
    few = recorded(*map(message, range(1, 11)), bounds=HistoryBounds(messages_max=3))
    assert (seqs(few, 6), seqs(few, 7)) == (None, [8, 9, 10])
    small = recorded(message(1, channel="votes_a"), message(1, channel="votes_b"), bounds=HistoryBounds(bytes_max=300))
    assert (seqs(small, 0, channel="votes_a"), seqs(small, 0, channel="votes_b")) == (None, [1])
    assert 0 < small.held_bytes <= 300
    now = [0.0]
    old = History(HistoryBounds(age_max_s=10), lambda: now[0])
    old.record([message(1)])
    now[0] = 9.0
    old.record([message(2)])
    now[0] = 12.0
    old.record([message(3)])
    assert (seqs(old, 0), seqs(old, 1)) == (None, [2, 3])
    now[0] = 30.0
    old.sweep()
    assert (seqs(old, 3), old.held_bytes) == (None, 0)


PAYLOADS = ("{}", '{"likes":7}', '{"question": "\u00fcber \u6f22 \U0001f600"}', json.dumps({"end": "x" * 70_000}))


@pytest.mark.parametrize("payload_json", PAYLOADS)
def test_what_is_counted_is_at_least_what_a_message_takes_once_it_is_told(payload_json: str) -> None:
    entry = FeedEntry(CHANNEL, "e1", 2**63, "VOTE_UPDATE", "t", payload_json)
    told = Numbered(entry, *entry.places[0], frames.numbered)
    counted = recorded(told).held_bytes
    assert counted >= len(told.packet.frames) + sum(map(len, told.packet.texts))


def test_a_message_is_encoded_when_the_first_client_asks_for_it_and_never_again() -> None:
    encoded: list[int] = []

    def encode(entry: FeedEntry, channel: str, seq: int) -> str:
        encoded.append(seq)
        return frames.numbered(entry, channel, seq)

    stage = Stage()
    stage.hub._encode = encode
    entries = tuple(FeedEntry(CHANNEL, "e1", seq, "VOTE_UPDATE", "t", f'{{"likes": {seq}}}') for seq in range(1, 6))
    stage.hub.deliver(Batch(entries))
    assert encoded == []
    for _ in range(2):
        client = stage.connect()
        client.say("subscribe", channels=[CHANNEL], resume={CHANNEL: {"epoch": "e1", "seq": 3}})
        assert [told["likes"] for told in client.line.take() if told["type"] == "VOTE_UPDATE"] == [4, 5]
    assert encoded == [4, 5]


def test_a_tally_is_told_and_resumed_in_both_channels_of_its_market_under_the_number_of_each() -> None:
    stage, votes = Stage(), f"votes_{MARKET}"
    stage.hub.deliver(Batch((FeedEntry(CHANNEL, "e1", 1, "STATE_CHANGED", "t", "{}"),)))
    held = {CHANNEL: {"epoch": "e1", "seq": 1}, votes: {"epoch": "e1", "seq": 6}}
    tallies = [FeedEntry(CHANNEL, "e1", seq, "VOTE_UPDATE", "t", f'{{"likes": {seq}}}', seq + 5) for seq in (2, 3)]
    stage.hub.deliver(Batch((tallies[0],)))
    client = stage.connect()
    client.say("subscribe", channels=[CHANNEL, votes], resume=held)
    stage.hub.deliver(Batch((tallies[1],)))
    told = [(each["channel"], each["seq"], each["likes"]) for each in client.line.take() if "likes" in each]
    assert sorted(told) == [(CHANNEL, 2, 2), (CHANNEL, 3, 3), (votes, 7, 2), (votes, 8, 3)]


def test_a_client_that_comes_back_gets_precisely_what_it_missed_and_nothing_is_read() -> None:
    stage = Stage()
    entries = tuple(FeedEntry(CHANNEL, "e1", seq, "VOTE_UPDATE", "t", f'{{"likes": {seq}}}') for seq in range(1, 6))
    stage.hub.deliver(Batch(entries))
    client = stage.connect()
    client.line.take()
    client.say("subscribe", channels=[CHANNEL], resume={CHANNEL: {"epoch": "e1", "seq": 2}})
    confirmed, *missed = client.line.take()
    assert (confirmed["type"], confirmed["recovered"], confirmed["seq"]) == ("SUBSCRIPTION_CONFIRMED", True, 2)
    assert [each["seq"] for each in missed] == [3, 4, 5]
    assert stage.begun == []


def test_after_a_loss_nothing_is_resumed() -> None:
    stage = Stage()
    stage.hub.deliver(Batch((FeedEntry(CHANNEL, "e1", 1, "VOTE_UPDATE", "t", '{"likes": 1}'),)))
    stage.hub.deliver(Batch(history_lost=True))
    client = stage.connect()
    client.say("subscribe", channels=[CHANNEL], resume={CHANNEL: {"epoch": "e1", "seq": 1}})
    assert len(stage.begun) == 1


def test_messages_of_a_tick_travel_as_one_parcel_unless_a_number_is_missing() -> None:
    together = list(parcels([message(1), message(2), message(4), message(5, epoch="e2")]))
    assert [(each.first, each.last, each.epoch) for each in together] == [(1, 2, "e1"), (4, 4, "e1"), (5, 5, "e2")]
    assert together[0].frames == message(1).packet.frames + message(2).packet.frames


def test_frames_have_the_three_lengths_of_the_protocol() -> None:
    assert text_frame(b"x" * 125)[:2] == b"\x81\x7d"
    assert text_frame(b"x" * 126)[:4] == b"\x81\x7e\x00\x7e"
    assert text_frame(b"x" * 65_536)[:10] == b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"


def test_two_thousand_clients_that_come_back_at_once_cost_no_read_and_as_many_newcomers_one() -> None:
    stage = Stage()
    entries = tuple(FeedEntry(CHANNEL, "e1", seq, "VOTE_UPDATE", "t", f'{{"likes": {seq}}}') for seq in range(1, 6))
    stage.hub.deliver(Batch(entries))
    stage.admission._limits = AdmissionLimits(per_wallet_max=10_000)
    for number in range(2_000):
        resume = {CHANNEL: {"epoch": "e1", "seq": number % 5 + 1}}
        stage.connect().say("subscribe", channels=[CHANNEL], resume=resume)
    assert stage.begun == []
    for _ in range(2_000):
        stage.connect(CHANNEL)
    assert len(stage.begun) == 1
