"""Who may have a connection, and who loses it for taking nothing."""

from __future__ import annotations

import json

from tests.support.feed import MARKET, OTHER_WALLET, WALLET, Pass, Passes
from tests.support.wire import Stage
from ws_bridge.admission import LOOPBACK, Admission, AdmissionLimits, Bucket, counted_address
from ws_bridge.packets import packet
from ws_bridge.session import Limits


def test_an_address_has_its_connections_and_others_have_theirs() -> None:
    admission = Admission(AdmissionLimits(per_address_max=2), 0.0)
    assert [admission.enter("203.0.113.1") for _ in range(3)] == [None, None, "too many connections of this address"]
    assert admission.enter("203.0.113.2") is None
    admission.leave("203.0.113.1")
    assert admission.enter("203.0.113.1") is None
    assert [admission.enter(None) for _ in range(100)] == [None] * 100


def test_a_process_has_a_limit_whoever_comes() -> None:
    admission = Admission(AdmissionLimits(connections_max=1), 0.0)
    assert [admission.enter(None), admission.enter(None)] == [None, "over capacity"]


def test_only_a_trusted_proxy_is_believed_and_only_its_last_address() -> None:
    assert counted_address("127.0.0.1", [], LOOPBACK) is None
    assert counted_address("127.0.0.1", ["10.1.1.1, 203.0.113.9"], LOOPBACK) == "203.0.113.9"
    assert counted_address("198.51.100.7", ["203.0.113.9"], LOOPBACK) == "198.51.100.7"
    assert counted_address("127.0.0.1", ["127.0.0.1"], LOOPBACK) is None
    assert counted_address("127.0.0.1", ["nonsense"], LOOPBACK) is None


def test_tokens_come_back_with_time_and_do_not_pile_up() -> None:
    bucket = Bucket(per_s=2.0, burst=3.0, now_s=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(1.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_a_wallets_eleventh_connection_is_closed_with_4100_until_one_goes() -> None:
    stage = Stage(Passes(good=Pass(WALLET), other=Pass(OTHER_WALLET)))
    stage.admission._limits = AdmissionLimits()
    clients = [stage.connect() for _ in range(11)]
    assert [client.line.closed for client in clients[:10]] == [None] * 10
    assert clients[10].line.closed == (4100, "too many connections of this wallet")
    assert stage.connect(ticket="other").line.closed is None
    clients[10].connection.gone()
    assert stage.connect().line.closed is not None, "one that was refused never counted"
    clients[0].connection.gone()
    assert stage.connect().line.closed is None


def test_messages_faster_than_allowed_are_refused_and_at_last_end_the_connection() -> None:
    stage = Stage(limits=Limits(messages_per_s=20, messages_burst=40))
    client = stage.connect()
    client.line.take()
    for _ in range(40):
        client.say("ping")
    assert client.line.types() == ["HEARTBEAT"] * 40
    client.say("ping")
    assert [m["reason"] for m in client.line.take()] == ["TOO_MANY_MESSAGES"]
    stage.pass_time(0.06)
    client.say("ping")
    assert client.line.types() == ["HEARTBEAT"]
    for _ in range(4):
        client.say("ping")
    assert client.line.closed is not None and client.line.closed[0] == 1008


def test_a_client_that_has_not_caught_up_in_ten_seconds_is_closed_with_4101() -> None:
    stage = Stage()
    slow, quick = stage.connect(), stage.connect()
    for client in (slow, quick):
        client.line.backlog_bytes = 1_000
        client.say("ping")
    stage.now_s += 9.0
    assert stage.laggards.look(stage.now_s) == 1_000
    quick.line.backlog_bytes = 0
    stage.now_s += 1.0
    stage.laggards.look(stage.now_s)
    assert (slow.line.closed, quick.line.closed) == ((4101, "slow consumer"), None)


def test_a_client_that_is_behind_is_not_told_what_may_be_missed() -> None:
    stage = Stage()
    client = stage.connect(f"market_{MARKET}")
    client.line.backlog_bytes = 1
    told = len(client.line.told)
    client.connection.unnumbered(f"market_{MARKET}", packet(json.dumps({"type": "VOTING_PROGRESS"})))
    client.connection.flush()
    assert len(client.line.told) == told


def test_a_dead_client_is_closed_with_4201_before_forty_seconds_are_over() -> None:
    stage = Stage()
    dead, alive = stage.connect(), stage.connect()
    dead.line.ponged = None
    stage.pass_time(35)
    assert (dead.line.closed, alive.line.closed) == ((4201, "pong timeout"), None)
    assert [m["type"] for m in alive.line.take()] == ["WELCOME", "HEARTBEAT", "HEARTBEAT"]
