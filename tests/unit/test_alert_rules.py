"""The rules file: what goes where, what is refused, and that nothing told about it holds a secret."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from alerts.messages import TEXT_LENGTH_MAX, text_of, title_of
from alerts.retries import JITTER, RATE_LIMITED_S_MIN, RETRY_S_MAX, retry_after_s
from alerts.rules import AlertRules, UnusableRules, read_rules
from alerts.secret_words import Redactor
from alerts.sinks import open_sinks
from domain.alerts import Announcement, Occasion, Severity, StoredAlert
from domain.ids import MarketId

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXAMPLE = Path("deploy/alerts.example.toml")
HOOKS = """
[sinks.a]
kind = "webhook"
url_env = "HOOK"
[sinks.b]
kind = "pagerduty"
routing_key_env = "KEY"
"""


def alert(kind: str = "fee_cap", severity: str = "HIGH", market: str | None = None, **data: str) -> StoredAlert:
    market_id = MarketId(market) if market else None
    return StoredAlert(1, "id", "key", kind, Severity(severity), market_id, data, 1, AT, AT)


def rules(folder: Path, text: str) -> AlertRules:
    (folder / "rules.toml").write_text(text)
    return read_rules(folder / "rules.toml")


@pytest.mark.parametrize(
    ("kind", "severity", "sinks"),
    [
        ("state_transition_failure", "CRITICAL", ("slack", "mail", "pager")),
        ("intent_failed", "HIGH", ("slack",)),
        ("stuck_market", "MEDIUM", ("slack",)),
        ("state_discrepancy", "MEDIUM", ()),
        ("whatever", "LOW", ()),
    ],
)
def test_the_example_routes_as_the_specification_does(kind: str, severity: str, sinks: tuple[str, ...]) -> None:
    assert read_rules(EXAMPLE).sinks_for(alert(kind, severity)) == sinks


def test_without_a_file_nobody_is_told() -> None:
    assert read_rules(None).sinks_for(alert(severity="CRITICAL")) == ()


def test_type_and_market_are_patterns_and_every_rule_that_fits_adds_its_sinks(tmp_path: Path) -> None:
    read = rules(
        tmp_path,
        f'{HOOKS}[[rules]]\ntype = "fee_*"\nsinks = ["a"]\n[[rules]]\nmarket = "M*"\nsinks = ["b", "a"]\n',
    )
    assert read.sinks_for(alert("fee_cap")) == ("a",)
    assert read.sinks_for(alert("fee_cap", market="M1")) == ("a", "b")
    assert read.sinks_for(alert("other", market="X1")) == ()


def test_a_last_rule_ends_the_look(tmp_path: Path) -> None:
    read = rules(tmp_path, f'{HOOKS}[[rules]]\ntype = "quiet"\nsinks = []\nlast = true\n[[rules]]\nsinks = ["a"]\n')
    assert (read.sinks_for(alert("quiet")), read.sinks_for(alert("loud"))) == ((), ("a",))


def test_an_end_is_told_to_the_pager_and_to_who_asked_for_it(tmp_path: Path) -> None:
    ended = replace(alert(), acknowledged_at=AT, resolved_at=AT)
    text = f'{HOOKS}[[rules]]\nsinks = ["a", "b"]\n'
    assert rules(tmp_path, text).sinks_for(ended) == ("b",)
    asked = text.replace('url_env = "HOOK"', 'url_env = "HOOK"\nsend_resolved = true')
    assert rules(tmp_path, asked).sinks_for(ended) == ("a", "b")
    assert rules(tmp_path, text).sinks_for(ended, unless_told=True) == ("a", "b")


def test_windows_are_by_severity_and_zero_is_never(tmp_path: Path) -> None:
    read = rules(tmp_path, "[reminder_s]\nCRITICAL = 60\nHIGH = 0\n")
    assert read.reminder_s == {"CRITICAL": 60, "HIGH": None, "MEDIUM": 86_400, "LOW": None}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sinks = 3", "sinks: Input should be a valid dictionary"),
        ("[[rules]", "line 1"),
        ('[[rules]]\nsinks = ["nobody"]', "rule 1 names a sink that is not there: nobody"),
        ('[sinks.a]\nkind = "carrier pigeon"', "sinks.a"),
        ('[sinks.a]\nkind = "slack"', "give one of url_file and url_env"),
        ('[sinks.a]\nkind = "slack"\nurl_file = "x"\nurl_env = "X"', "give one of url_file and url_env"),
        ('[sinks.a]\nkind = "slack"\nurl = "https://s3cr3t.example"', "sinks.a.slack.url: Extra inputs"),
        ('[[rules]]\nseverity = ["URGENT"]\nsinks = []', "rules.0.severity.0"),
        ('[sinks.a]\nkind = "email"\nhost = "h"\nfrom = "zmart"\nto = []', "sinks.a.email.from"),
        ('[sinks.a]\nkind = "slack"\nurl_env = "X"\ntimeout_s = 3600', "sinks.a.slack.timeout_s"),
        ("[reminder_s]\nSOON = 3", "reminder_s.SOON"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_without_its_values(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UnusableRules) as refused:
        rules(tmp_path, text)
    assert why in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableRules, match="No such file"):
        read_rules(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "the environment variable HOOK is empty or not there"),
        ("ftp://example.org/secret-path", "no http or https URL"),
        ("http://example.org/secret-path", "use https"),
        ("https://example.org/secret-path\nsecond line", "more than one line"),
    ],
)
def test_a_sink_with_a_useless_secret_is_left_out_and_the_others_are_not(tmp_path: Path, url: str, why: str) -> None:
    read = rules(tmp_path, HOOKS)
    sinks, unusable, _ = open_sinks(read, {"HOOK": url, "KEY": "k" * 32})
    assert (list(sinks), list(unusable)) == (["b"], ["a"])
    assert why in str(unusable["a"])
    assert "secret-path" not in str(unusable["a"])


def test_a_slack_url_of_another_shape_is_said_at_once(tmp_path: Path) -> None:
    read = rules(tmp_path, '[sinks.a]\nkind = "slack"\nurl_env = "HOOK"')
    _, unusable, _ = open_sinks(read, {"HOOK": "https://hooks.slack.com/secret-path"})
    assert str(unusable["a"]) == "slack: the URL does not end with the three parts of an incoming webhook"


def test_secrets_and_the_telling_parts_of_their_urls_are_taken_out() -> None:
    url = "https://user%40x:pass-word@hooks.example.org/services/T0AAAA/sEcReTkEy?token=abcd-efgh"
    told = "POST hooks.example.org/services/T0AAAA/sEcReTkEy?token=abcd-efgh with pass-word and k3y"
    hidden = "POST hooks.example.org/services/***/***?token=*** with *** and ***"
    assert Redactor([url, "k3y"]).clean(told) == hidden


def test_retries_grow_to_a_bound_and_wait_a_minute_at_least_after_too_many_requests() -> None:
    low, high = random.Random(), random.Random()
    low.random, high.random = lambda: 0.0, lambda: 1.0  # type: ignore[method-assign]
    assert [retry_after_s(attempts, False, low) for attempts in (1, 2, 3)] == [5, 10, 20]
    assert retry_after_s(1, False, high) == 5 * (1 + JITTER)
    assert retry_after_s(10_000, False, low) == RETRY_S_MAX
    assert (retry_after_s(1, True, low), retry_after_s(7, True, low)) == (RATE_LIMITED_S_MIN, 320)


def test_a_title_names_the_worst_and_a_text_has_a_bound() -> None:
    many = [Announcement(Occasion.RAISED, alert("small", "LOW", note="x" * 1000))] * 100
    worst = Announcement(Occasion.REMINDER, alert("big", "CRITICAL"))
    assert title_of([*many, worst]) == "CRITICAL: still: big (and 100 more)"
    assert title_of([worst]) == "CRITICAL: still: big"
    assert len(text_of([*many, worst])) == TEXT_LENGTH_MAX
