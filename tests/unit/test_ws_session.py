"""One connection, step by step: identity, channels, limits, liveness."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.ids import base58_encode, key_bytes
from tests.support.feed import MARKET, NOW_S, OTHER_WALLET, UNKNOWN_MARKET, WALLET, Book, Pass, Passes, State
from tests.support.wire import Client, Stage
from ws_bridge import frames
from ws_bridge.frames import Position
from ws_bridge.packets import packet
from ws_bridge.ports import Batch, FeedEntry
from ws_bridge.session import CloseCode, Limits, Verify
from ws_bridge.snapshots import SnapshotReader
from ws_bridge.subscription import JOIN_BUFFER_MESSAGES_MAX, SNAPSHOT_ATTEMPTS_MAX, Sheet

CHANNEL = f"market_{MARKET}"


def sheet(seq: int, epoch: str = "e1", channel: str = CHANNEL) -> Sheet:
    state = State(epoch, seq, {"likes": seq})
    return Sheet(channel, Position(epoch, seq), packet(frames.snapshot(channel, state, NOW_S)))


def deliver(stage: Stage, *seqs: int, epoch: str = "e1", channel: str = CHANNEL) -> None:
    entries = tuple(FeedEntry(channel, epoch, seq, "VOTE_UPDATE", "t", f'{{"likes": {seq}}}') for seq in seqs)
    stage.hub.deliver(Batch(entries))


def answer(stage: Stage, *sheets: Sheet | None) -> None:
    """Answer the reads under way, oldest first."""
    for each in sheets:
        stage.desk.answer(stage.begun.pop(0), each)


def subscribed(stage: Stage, seq: int = 5) -> Client:
    client = stage.connect(CHANNEL)
    answer(stage, sheet(seq))
    assert client.line.types() == ["WELCOME", "SUBSCRIPTION_CONFIRMED", "SNAPSHOT"]
    return client


# identity


def test_a_good_token_is_welcomed_with_its_wallet_and_its_end() -> None:
    (welcome,) = Stage().connect().line.take()
    assert (welcome["type"], welcome["wallet"]) == ("WELCOME", WALLET)
    assert welcome["expires_at"] == "2025-10-09T09:53:20.000Z"


def test_a_bad_token_is_closed_with_4001_and_nothing_is_said() -> None:
    line = Stage().connect(CHANNEL, ticket="bad").line
    assert (line.closed, line.told) == ((4001, "invalid token"), [])


def test_without_a_token_the_connection_ends_after_ten_seconds() -> None:
    stage = Stage()
    client = stage.connect(ticket=None)
    stage.pass_time(9.99)
    assert client.line.closed is None
    stage.pass_time(0.01)
    assert client.line.closed == (4001, "no token")


def test_the_first_message_may_bring_the_token_and_the_url_is_subscribed_then() -> None:
    stage = Stage()
    client = stage.connect(CHANNEL, ticket=None)
    client.say("subscribe", channels=[CHANNEL])
    assert [message["reason"] for message in client.line.take()] == ["UNAUTHENTICATED"]
    client.say("auth", token="good")
    answer(stage, sheet(0))
    assert client.line.types() == ["WELCOME", "SUBSCRIPTION_CONFIRMED", "SNAPSHOT"]


def test_an_expired_token_ends_the_connection() -> None:
    stage = Stage(Passes(good=Pass(expires_at_s=NOW_S + 30)))
    client = stage.connect()
    stage.pass_time(30)
    assert client.line.closed == (4001, "token expired")


def test_a_token_that_has_already_expired_is_not_welcomed() -> None:
    client = Stage(Passes(good=Pass(expires_at_s=NOW_S))).connect()
    assert (client.line.closed, client.line.told) == ((4001, "token expired"), [])


def test_a_fresh_token_of_the_same_wallet_extends_the_time() -> None:
    stage = Stage(Passes(good=Pass(expires_at_s=NOW_S + 30), fresh=Pass(expires_at_s=NOW_S + 60)))
    client = stage.connect()
    client.say("auth", token="fresh")
    stage.pass_time(59)
    assert client.line.closed is None
    stage.pass_time(1)
    assert client.line.closed == (4001, "token expired")


def test_a_token_of_another_wallet_ends_the_connection() -> None:
    client = Stage(Passes(good=Pass(), other=Pass(OTHER_WALLET))).connect()
    client.say("auth", token="other")
    assert client.line.closed == (4001, "token of another wallet")


def test_tokens_do_not_show_in_what_is_printed() -> None:
    message = frames.parse_client('{"action":"auth","token":"secret"}')
    assert "secret" not in repr(message) + repr(Verify("secret"))


# channels


@pytest.mark.parametrize(
    "spelling", [f"market:{MARKET}", f"market_{key_bytes(MARKET).hex()}", f"market:{key_bytes(MARKET).hex().upper()}"]
)
def test_other_spellings_of_a_channel_are_answered_by_its_canonical_name(spelling: str) -> None:
    stage = Stage()
    client = stage.connect(spelling)
    answer(stage, sheet(0))
    _, confirmed, snapshot = client.line.take()
    assert (confirmed["channel"], confirmed["requested"], snapshot["channel"]) == (CHANNEL, spelling, CHANNEL)


@pytest.mark.parametrize(
    "name",
    ["", "market", "market_", "market_xyz", "votes_0OIl", "orders_" + MARKET, "market_" + "1" * 5000, "market_\ud800"],
)
def test_a_name_outside_the_grammar_is_an_error_and_the_connection_stays(name: str) -> None:
    client = Stage().connect()
    client.line.take()
    client.say("subscribe", channels=[name])
    (error,) = client.line.take()
    assert (error["type"], error["reason"], error["channel"]) == ("ERROR", "INVALID_CHANNEL", name[:100])
    assert client.line.closed is None


def test_an_unknown_market_is_an_error_and_may_be_asked_for_again() -> None:
    stage = Stage()
    channel = f"market_{UNKNOWN_MARKET}"
    client = stage.connect(channel)
    answer(stage, None)
    _, error = client.line.take()
    assert (error["reason"], error["channel"], client.line.closed) == ("MARKET_NOT_FOUND", channel, None)
    client.say("subscribe", channels=[channel])
    answer(stage, sheet(0, channel=channel))
    assert client.line.types() == ["SUBSCRIPTION_CONFIRMED", "SNAPSHOT"]


def test_positions_are_for_their_own_wallet() -> None:
    stage = Stage()
    client = stage.connect(f"user:{OTHER_WALLET}:positions")
    _, error = client.line.take()
    assert (error["reason"], error["channel"]) == ("CHANNEL_FORBIDDEN", f"user_{OTHER_WALLET}_positions")
    assert not stage.begun


def test_a_wallet_hears_of_its_own_positions() -> None:
    stage = Stage()
    channel = f"user_{WALLET}_positions"
    client = stage.connect(f"user:{WALLET}:positions")
    answer(stage, sheet(3, channel=channel))
    assert client.line.types() == ["WELCOME", "SUBSCRIPTION_CONFIRMED", "SNAPSHOT"]


def test_the_hundred_and_first_channel_is_refused_and_the_others_stay() -> None:
    stage = Stage()
    names = [f"votes_{base58_encode(index.to_bytes(32, 'big'))}" for index in range(1, 102)]
    client = stage.connect(*names)
    assert len(stage.begun) == 100
    _, error = client.line.take()
    assert (error["reason"], error["channel"]) == ("TOO_MANY_CHANNELS", names[-1])
    client.say("unsubscribe", channels=names[:1])
    client.say("subscribe", channels=names[-1:])
    assert len(stage.begun) == 101


@pytest.mark.parametrize(
    "leave",
    [
        lambda client: client.say("unsubscribe", channels=[CHANNEL]),
        lambda client: client.connection.close(CloseCode.RESTART, "restart"),
        lambda client: client.connection.gone(),
    ],
    ids=["unsubscribed", "closed", "gone"],
)
def test_who_leaves_while_a_message_goes_round_is_not_told_it(leave: Callable[[Client], None]) -> None:
    stage = Stage()
    leaving, staying = subscribed(stage), stage.connect(CHANNEL)  # they share the snapshot
    assert staying.line.types()[-1] == "SNAPSHOT"
    visits = stage.hub.rounds(Batch((FeedEntry(CHANNEL, "e1", 6, "VOTE_UPDATE", "t", '{"likes": 6}'),)))
    leave(leaving)
    for taker, parcels in visits:
        taker.deliver(parcels)
    assert leaving.line.types() == []
    assert staying.line.types() == ["VOTE_UPDATE"]


def test_an_unsubscribed_channel_is_silent() -> None:
    stage = Stage()
    client = subscribed(stage)
    client.say("unsubscribe", channels=[CHANNEL])
    deliver(stage, 6)
    assert client.line.take() == []


# snapshot and live messages


def test_messages_during_the_read_follow_the_snapshot_without_those_it_contains() -> None:
    stage = Stage()
    client = stage.connect(CHANNEL)
    deliver(stage, 6, 7, 8)
    answer(stage, sheet(6))
    _, confirmed, *history = client.line.take()
    assert (confirmed["seq"], confirmed["recovered"]) == (6, False)
    assert [(m["type"], m["seq"]) for m in history] == [("SNAPSHOT", 6), ("VOTE_UPDATE", 7), ("VOTE_UPDATE", 8)]


def test_the_exact_position_is_resumed_without_a_snapshot() -> None:
    stage = Stage()
    client = stage.connect()
    client.line.take()
    client.say("subscribe", channels=[CHANNEL], resume={CHANNEL: {"epoch": "e1", "seq": 5}})
    answer(stage, sheet(5))
    deliver(stage, 6)
    confirmed, update = client.line.take()
    assert (confirmed["recovered"], confirmed["seq"], update["seq"]) == (True, 5, 6)


@pytest.mark.parametrize("resume", [{"epoch": "e1", "seq": 4}, {"epoch": "e0", "seq": 5}, {"epoch": "e1", "seq": 6}])
def test_any_other_position_gets_a_snapshot(resume: dict[str, Any]) -> None:
    stage = Stage()
    client = stage.connect()
    client.line.take()
    client.say("subscribe", channels=[CHANNEL], resume={CHANNEL: resume})
    answer(stage, sheet(5))
    confirmed, snapshot = client.line.take()
    assert (confirmed["recovered"], snapshot["type"]) == (False, "SNAPSHOT")


def test_what_the_notifier_repeats_is_dropped_without_a_new_read() -> None:
    stage = Stage()
    client = subscribed(stage)
    deliver(stage, 6, 7, 6, 7, 8)
    assert [message["seq"] for message in client.line.take()] == [6, 7, 8]
    assert not stage.begun


def test_a_gap_starts_the_channel_over_from_a_newer_snapshot() -> None:
    stage = Stage()
    client = subscribed(stage)
    deliver(stage, 7, 8)
    assert client.line.take() == []
    answer(stage, sheet(7))
    confirmed, *history = client.line.take()
    assert confirmed["recovered"] is False
    assert [(m["type"], m["seq"]) for m in history] == [("SNAPSHOT", 7), ("VOTE_UPDATE", 8)]


def test_lost_history_starts_over_even_at_the_position_the_client_resumed_from() -> None:
    stage = Stage()
    client = stage.connect()
    client.line.take()
    client.say("subscribe", channels=[CHANNEL], resume={CHANNEL: {"epoch": "e1", "seq": 5}})
    stage.hub.deliver(Batch(history_lost=True))
    answer(stage, sheet(5), sheet(5))
    confirmed, snapshot = client.line.take()
    assert (confirmed["recovered"], snapshot["type"]) == (False, "SNAPSHOT")


def test_a_late_answer_to_an_older_request_is_ignored() -> None:
    stage = Stage()
    client = stage.connect(CHANNEL)
    client.line.take()
    client.say("unsubscribe", channels=[CHANNEL])
    deliver(stage, 6)  # nobody of this connection hears it
    client.say("subscribe", channels=[CHANNEL])
    answer(stage, sheet(5))
    assert client.line.take() == []
    answer(stage, sheet(6))
    assert [message["seq"] for message in client.line.take()] == [6, 6]


def test_a_snapshot_older_than_what_the_client_holds_is_read_again() -> None:
    stage = Stage()
    client = subscribed(stage, seq=5)
    stage.hub.deliver(Batch(history_lost=True))
    answer(stage, sheet(4))
    assert client.line.take() == []
    answer(stage, sheet(5))
    assert client.line.types() == ["SUBSCRIPTION_CONFIRMED", "SNAPSHOT"]


def test_more_messages_than_the_buffer_holds_need_a_newer_snapshot() -> None:
    stage = Stage()
    client = stage.connect(CHANNEL)
    client.line.take()
    deliver(stage, *range(1, JOIN_BUFFER_MESSAGES_MAX + 3))
    answer(stage, sheet(0))
    assert client.line.take() == []
    answer(stage, sheet(2))
    assert [m["seq"] for m in client.line.take()][1:] == list(range(2, JOIN_BUFFER_MESSAGES_MAX + 3))


def test_state_and_messages_that_never_meet_end_with_4200() -> None:
    stage = Stage()
    client = subscribed(stage)
    deliver(stage, 9)
    for _ in range(SNAPSHOT_ATTEMPTS_MAX):
        answer(stage, sheet(5))
    assert client.line.closed == (4200, "state and messages do not meet")


def test_without_a_database_a_new_subscription_is_an_error_and_an_old_one_starts_over() -> None:
    stage = Stage()
    old, new = subscribed(stage), stage.connect()
    stage.hub.deliver(Batch(history_lost=True))
    new.say("subscribe", channels=[CHANNEL])
    stage.desk.fail(stage.begun.pop())
    assert old.line.closed == (4200, "state unavailable")
    assert [m.get("reason") for m in new.line.take()] == [None, "SNAPSHOT_UNAVAILABLE"]
    assert new.line.closed is None


# garbage, liveness, slowness


GARBAGE = ["", "{", "[]", "1", "null", '"subscribe"', "[" * 4000, '{"action":"fly"}', '{"action":["ping"]}', b"\0\1"]


@pytest.mark.parametrize("frame", [*GARBAGE, '{"action":"auth"}', '{"action":"subscribe","channels":"a"}'])
def test_garbage_is_answered_and_five_times_end_the_connection(frame: str | bytes) -> None:
    client = Stage().connect()
    client.line.take()
    for _ in range(4):
        client.connection.received(frame)
    assert [m["reason"] for m in client.line.take()] == ["MALFORMED_MESSAGE"] * 4
    assert client.line.closed is None
    client.connection.received(frame)
    assert client.line.closed == (1008, "too many malformed messages")


ANY_CHARACTER = st.characters(exclude_categories=())
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(ANY_CHARACTER),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["action", "channels", "resume", "token"])
ACTIONS = st.sampled_from(["subscribe", "unsubscribe", "ping", "auth"])
BODIES = st.dictionaries(FIELDS, JSON_VALUES | ACTIONS | st.lists(st.text(ANY_CHARACTER), max_size=3), max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.lists(BODIES.map(json.dumps) | st.text() | st.binary(), max_size=8), st.booleans())
def test_no_frame_of_a_client_is_a_fault_of_the_server(sent: list[str | bytes], known: bool) -> None:
    stage = Stage(limits=Limits(strikes_max=100))
    client = stage.connect(ticket="good" if known else None)
    for frame in sent:
        client.connection.received(frame)
    stage.pass_time(100)
    assert client.line.told or client.line.closed


def test_a_heartbeat_carries_the_last_position_and_a_ping_asks_for_one() -> None:
    stage = Stage()
    client = subscribed(stage)
    deliver(stage, 6)
    client.line.take()
    client.say("ping")
    stage.pass_time(20)
    heartbeats = client.line.take()
    assert [message["type"] for message in heartbeats] == ["HEARTBEAT", "HEARTBEAT"]
    assert all(message["channels"] == {CHANNEL: {"epoch": "e1", "seq": 6}} for message in heartbeats)


def test_a_client_that_takes_nothing_is_closed_with_4101_and_no_longer_served() -> None:
    stage = Stage()
    slow, quick = subscribed(stage), stage.connect(CHANNEL)
    slow.line.backlog_bytes = 256 * 1024 + 1
    deliver(stage, 6)
    assert slow.line.closed == (4101, "slow consumer")
    deliver(stage, 7)
    assert [m["seq"] for m in slow.line.take()] == [6]
    assert quick.line.closed is None


def test_a_connection_that_is_gone_leaves_nothing_behind() -> None:
    stage = Stage()
    client = subscribed(stage)
    client.connection.gone()
    deliver(stage, 6)
    stage.pass_time(1_000)
    assert client.line.take() == []
    assert stage.hub.members == ()


# sharing


def test_a_message_is_encoded_once_for_all_its_subscribers() -> None:
    encoded: list[int] = []
    stage = Stage()

    def encode(entry: FeedEntry, channel: str, seq: int) -> str:
        encoded.append(seq)
        return frames.numbered(entry, channel, seq)

    stage.hub._encode = encode
    clients = [stage.connect(CHANNEL) for _ in range(100)]
    answer(stage, sheet(5))
    deliver(stage, 6)
    assert encoded == [6]
    assert all(client.line.take()[-1]["seq"] == 6 for client in clients)


def test_many_subscribers_within_a_moment_cost_one_read() -> None:
    stage = Stage()
    early = [stage.connect(CHANNEL) for _ in range(50)]
    answer(stage, sheet(5))
    late = [stage.connect(CHANNEL) for _ in range(50)]
    assert not stage.begun
    assert all(client.line.take()[-1]["type"] == "SNAPSHOT" for client in early + late)


def test_a_read_is_not_shared_with_those_who_come_after_a_message() -> None:
    stage = Stage()
    stage.connect(CHANNEL)
    deliver(stage, 6)
    stage.connect(CHANNEL)
    assert len(stage.begun) == 2


def test_a_read_serves_newcomers_for_one_second_only() -> None:
    stage = Stage()
    subscribed(stage)
    stage.pass_time(1.0)
    stage.connect(CHANNEL)
    assert len(stage.begun) == 1


async def test_a_database_that_answers_again_is_read_again() -> None:
    book = Book(failures=2)
    book.open(CHANNEL)
    reader = SnapshotReader(book, lambda: NOW_S)
    told: list[object] = []
    await _ask(reader, told)
    assert [type(each) for each in told] == [Sheet]
    await reader.close()


async def _ask(reader: SnapshotReader, told: list[object]) -> None:
    done = asyncio.Event()

    class Asker:
        def snapshot(self, _channel: str, _ticket: int, state: Sheet | None) -> None:
            told.append(state)
            done.set()

        def snapshot_failed(self, _channel: str, _ticket: int) -> None:
            told.append("failed")
            done.set()

    reader.desk.request(CHANNEL, 1, Asker())
    await done.wait()
