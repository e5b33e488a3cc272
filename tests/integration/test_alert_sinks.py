"""Every kind of sink against a real server: what arrives, what a failure is, and that no secret is ever told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.header import decode_header, make_header
from pathlib import Path

import pytest

from alerts.ports import Sink, SinkFailed
from alerts.rules import read_rules
from alerts.sinks import BATCH_MAX, open_sinks
from app.embedded import free_port
from domain.alerts import Announcement, Occasion, Severity, StoredAlert
from tests.support.eventually import eventually_async
from tests.support.markets import market_id
from tests.support.receivers import BEARER, ROUTING_KEY, SECRETS, SLACK_SECRET, Mailbox, Receiver

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def announcement(
    kind: str = "fee_cap", severity: str = "CRITICAL", occasion: str = "raised", **data: str
) -> Announcement:
    alert = StoredAlert(7, "id-7", f"{kind}:key", kind, Severity(severity), market_id(), data, 2, AT, AT)
    return Announcement(Occasion(occasion), alert)


def opened(folder: Path, text: str, name: str = "sink") -> Sink:
    (folder / "alerts.toml").write_text(f"[sinks.{name}]\n{text}")
    sinks, unusable, _ = open_sinks(read_rules(folder / "alerts.toml"), {})
    assert unusable == {}
    return sinks[name]


def slack(folder: Path, url: str, timeout_s: float = 30.0) -> Sink:
    (folder / "slack").write_text(f"{url}/services/{SLACK_SECRET}")
    return opened(folder, f'kind = "slack"\nurl_file = "slack"\ntimeout_s = {timeout_s}')


def email(folder: Path, port: int, more: str = 'security = "none"') -> Sink:
    text = f'kind = "email"\nhost = "127.0.0.1"\nport = {port}\nfrom = "zmart@example.org"\n'
    return opened(folder, f'{text}to = ["a@example.org", "b@example.org"]\n{more}')


async def test_slack_gets_a_title_and_the_facts_with_nothing_that_slack_would_act_on(
    secret_files: Path, receiver: Receiver
) -> None:
    await slack(secret_files, receiver.url).send([announcement(reason="<!channel> & more")])
    ((path, _, _),) = receiver.posts
    (text,) = receiver.texts()
    assert path == f"/services/{SLACK_SECRET}"
    assert text.startswith("CRITICAL: fee_cap\n")
    assert "reason: &lt;!channel&gt; &amp; more" in text
    assert market_id() in text and "2 times since 2026-03-01T12:00:00Z" in text and "id-7" in text


async def test_a_storm_is_one_message(secret_files: Path, receiver: Receiver) -> None:
    sink = slack(secret_files, receiver.url)
    assert sink.batch_max == BATCH_MAX
    await sink.send([announcement("intent_failed", "HIGH")] * 49 + [announcement("fee_cap")])
    (text,) = receiver.texts()
    assert text.startswith("CRITICAL: fee_cap (and 49 more)")
    assert text.count("HIGH: intent_failed") > 20


@pytest.mark.parametrize(("status", "rate_limited"), [(500, False), (429, True), (404, False), (302, False)])
async def test_an_answer_other_than_yes_is_a_failure_with_its_status_and_no_secret(
    secret_files: Path, receiver: Receiver, status: int, rate_limited: bool
) -> None:
    receiver.status = status
    with pytest.raises(SinkFailed, match=str(status)) as failed:
        await slack(secret_files, receiver.url).send([announcement()])
    assert failed.value.rate_limited is rate_limited
    assert [path for path, _, _ in receiver.posts] == [f"/services/{SLACK_SECRET}"], "no redirect is followed"
    assert not any(secret in failed.value.why for secret in SECRETS)


async def test_nobody_there_is_a_failure(secret_files: Path) -> None:
    with pytest.raises(SinkFailed) as failed:
        await slack(secret_files, f"http://127.0.0.1:{free_port()}").send([announcement()])
    assert not any(secret in failed.value.why for secret in SECRETS)


async def test_no_answer_is_a_failure_in_time_and_no_second_message_begins_behind_it(
    secret_files: Path, receiver: Receiver
) -> None:
    receiver.gate.clear()
    (secret_files / "hook").write_text(f"{receiver.url}/hook")
    sink = opened(secret_files, 'kind = "webhook"\nurl_file = "hook"\ntimeout_s = 30')
    first = asyncio.create_task(sink.send([announcement()]))

    async def has_come() -> bool:
        return len(receiver.posts) == 1

    await eventually_async(has_come)
    with pytest.raises(SinkFailed, match="has not ended yet"):
        await sink.send([announcement()])
    receiver.gate.set()
    await first
    await sink.send([announcement()])
    assert len(receiver.posts) == 2


async def test_the_time_of_a_sink_is_its_own(secret_files: Path, receiver: Receiver) -> None:
    receiver.gate.clear()
    with pytest.raises(SinkFailed, match=r"no answer within 0\.05 s"):
        await slack(secret_files, receiver.url, timeout_s=0.05).send([announcement()])


async def test_a_webhook_gets_every_field_and_our_bearer(secret_files: Path, receiver: Receiver) -> None:
    (secret_files / "hook").write_text(f"{receiver.url}/hook?team=1")
    sink = opened(secret_files, 'kind = "webhook"\nurl_file = "hook"\nbearer_file = "bearer"')
    await sink.send([announcement(reason="x"), announcement("other", "LOW", "resolved")])
    ((path, headers, body),) = receiver.posts
    assert (path, headers["Authorization"]) == ("/hook?team=1", f"Bearer {BEARER}")
    first, second = body["alerts"]
    assert first == {
        "occasion": "raised",
        "id": "id-7",
        "dedupe_key": "fee_cap:key",
        "alert_type": "fee_cap",
        "severity": "CRITICAL",
        "status": "open",
        "market_id": market_id(),
        "data": {"reason": "x"},
        "occurrences": 2,
        "created_at": "2026-03-01T12:00:00Z",
        "last_at": "2026-03-01T12:00:00Z",
    }
    assert (second["occasion"], second["severity"]) == ("resolved", "LOW")


async def test_pagerduty_gets_one_incident_for_each_alert_and_its_end(secret_files: Path, receiver: Receiver) -> None:
    receiver.status = 202
    rules = f'kind = "pagerduty"\nrouting_key_file = "routing_key"\nevents_url = "{receiver.url}/v2/enqueue"'
    sink = opened(secret_files, rules)
    assert sink.batch_max == 1
    await sink.send([announcement(reason="x")])
    await sink.send([announcement(occasion="resolved")])
    (path, _, trigger), (_, _, end) = receiver.posts
    assert path == "/v2/enqueue"
    assert (trigger["routing_key"], trigger["event_action"], trigger["dedup_key"]) == (
        ROUTING_KEY,
        "trigger",
        "fee_cap:key",
    )
    assert trigger["payload"]["severity"] == "critical"
    assert trigger["payload"]["custom_details"] == {"market": market_id(), "reason": "x"}
    assert trigger["payload"]["summary"].startswith("CRITICAL: fee_cap")
    assert end == {"routing_key": ROUTING_KEY, "event_action": "resolve", "dedup_key": "fee_cap:key"}


async def test_mail_goes_to_everybody_with_the_title_as_its_subject(secret_files: Path, mailbox: Mailbox) -> None:
    await email(secret_files, mailbox.port).send([announcement(reason="line\r\nBcc: x@example.org")])
    assert sorted(to for tos, _ in mailbox.letters for to in tos) == ["a@example.org", "b@example.org"]
    letter = mailbox.letters[0][1]
    assert str(make_header(decode_header(letter["Subject"]))) == "CRITICAL: fee_cap"
    assert "zmart@example.org" in letter["From"]
    assert letter["Bcc"] is None
    body = letter.get_payload(decode=True)
    assert isinstance(body, bytes) and b"reason: line Bcc: x@example.org" in body


async def test_a_mail_server_that_refuses_is_a_failure(secret_files: Path, mailbox: Mailbox) -> None:
    mailbox.refusal = "554 not today"
    with pytest.raises(SinkFailed):
        await email(secret_files, mailbox.port).send([announcement()])


async def test_a_mail_server_without_tls_is_a_failure_when_tls_is_wanted(secret_files: Path, mailbox: Mailbox) -> None:
    sink = email(secret_files, mailbox.port, 'user = "zmart"\npassword_file = "password"')
    with pytest.raises(SinkFailed) as failed:
        await sink.send([announcement()])
    assert mailbox.letters == []
    assert not any(secret in failed.value.why for secret in SECRETS)


async def test_any_service_that_apprise_knows_may_be_a_sink(secret_files: Path, receiver: Receiver) -> None:
    (secret_files / "any").write_text(f"{receiver.url.replace('http', 'json', 1)}/any")
    await opened(secret_files, 'kind = "apprise"\nurl_file = "any"').send([announcement()])
    ((path, _, body),) = receiver.posts
    assert (path, body["title"]) == ("/any", "CRITICAL: fee_cap")
