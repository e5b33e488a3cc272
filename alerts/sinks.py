"""The sinks of the rules file, sent through apprise: the only file that knows that library.

Apprise blocks, answers yes or no, and tells the reason in its log. So every sending has a daemon thread of its own (it
never keeps a process from ending), and its log entries are read for the reason and the HTTP status.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import apprise
from apprise.plugins import pagerduty
from apprise.plugins.base import NotifyBase
from apprise.plugins.custom_json import NotifyJSON
from apprise.plugins.email import NotifyEmail
from apprise.plugins.slack import NotifySlack

from alerts.messages import facts_of, json_of, text_of, title_of
from alerts.ports import Sink, SinkFailed
from alerts.rules import (
    AlertRules,
    AppriseRules,
    EmailRules,
    PagerDutyRules,
    SinkRules,
    SlackRules,
    WebhookRules,
)
from alerts.secret_words import Redactor, SecretMissing, read_secret
from domain.alerts import Announcement, Occasion, Severity

BATCH_MAX = 50
"""Announcements in one message: a storm is a page of text, not a page of messages."""
ERROR_LENGTH_MAX = 500
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SLACK_PATH = re.compile(r"(?P<base>/.*)?/(?P<a>[A-Za-z0-9]+)/(?P<b>[A-Za-z0-9]+)/(?P<c>[A-Za-z0-9]+)/?")
_STATUS = re.compile(r"error=(\d{3})\b")
_TYPES = {
    Severity.CRITICAL: apprise.NotifyType.FAILURE,
    Severity.HIGH: apprise.NotifyType.WARNING,
    Severity.MEDIUM: apprise.NotifyType.WARNING,
    Severity.LOW: apprise.NotifyType.INFO,
}
_PAGERDUTY_SEVERITY = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
}
Make = Callable[[Sequence[Announcement]], NotifyBase]


class SinkUnusable(Exception):
    """A sink cannot be made: a secret is missing, or is not what its service takes. Says no secret."""


class AppriseSink:
    """One sink. A sending that is still under way after its time is waited for by nobody, and no other begins."""

    def __init__(self, name: str, make: Make, redactor: Redactor, timeout_s: float, batch_max: int = BATCH_MAX) -> None:
        self.name, self.timeout_s, self.batch_max = name, timeout_s, batch_max
        self._make, self._redactor = make, redactor
        self._under_way = False

    async def send(self, announcements: Sequence[Announcement]) -> None:
        """Tell people, within `timeout_s`. Raises SinkFailed."""
        if self._under_way:
            raise SinkFailed("the attempt before this one has not ended yet")
        try:
            async with asyncio.timeout(self.timeout_s):
                await self._threaded([self._redactor.cleaned(announcement) for announcement in announcements])
        except TimeoutError as late:
            raise SinkFailed(f"no answer within {self.timeout_s:g} s") from late

    async def _threaded(self, announcements: Sequence[Announcement]) -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        failures: list[SinkFailed] = []

        def work() -> None:
            try:
                self._deliver(announcements)
            except SinkFailed as failure:
                failures.append(failure)
            finally:
                self._under_way = False
                _tell(loop, done.set)

        self._under_way = True
        threading.Thread(target=work, name=f"sink-{self.name}", daemon=True).start()
        await done.wait()
        if failures:
            raise failures[0]

    def _deliver(self, announcements: Sequence[Announcement]) -> None:
        """In the thread: every failure of the library is a failure of this sink, and of nothing else."""
        try:
            calls = apprise.Apprise(asset=_asset())
            calls.add(self._make(announcements))
            worst = min((announcement.alert.severity for announcement in announcements), key=lambda s: s.rank)
            result = calls.notify(
                text_of(announcements), title_of(announcements), _TYPES[worst], apprise.NotifyFormat.TEXT
            )
            reasons = " ".join(entry.message for entry in result.logs())
        except Exception as bug:  # a library of 140 services; what one of them trips over is no bug of ours
            raise SinkFailed(self._short(f"{type(bug).__name__}: {bug}")) from None
        if not result:
            status = _STATUS.search(reasons)
            raise SinkFailed(self._short(reasons or "not accepted"), status is not None and status[1] == "429")

    def _short(self, words: str) -> str:
        return self._redactor.clean(words)[:ERROR_LENGTH_MAX]


def open_sinks(
    rules: AlertRules, environment: Mapping[str, str]
) -> tuple[dict[str, Sink], dict[str, SinkUnusable], Redactor]:
    """The sinks that work, those that do not with the reason, and what takes all secrets out of a text."""
    silence_library()
    secrets: dict[str, dict[str, str]] = {}
    sinks: dict[str, Sink] = {}
    unusable: dict[str, SinkUnusable] = {}
    for name, sink in rules.sinks.items():
        try:
            secrets[name] = _secrets(sink, rules, environment)
        except SecretMissing as fault:
            unusable[name] = SinkUnusable(str(fault))
    redactor = Redactor(secret for found in secrets.values() for secret in found.values())
    for name, found in secrets.items():
        try:
            sinks[name] = _open(name, rules.sinks[name], found, redactor)
        except SinkUnusable as fault:
            unusable[name] = fault
    return sinks, unusable, redactor


def silence_library() -> None:
    """Apprise logs what we report ourselves, redacted; urllib3 would print paths of webhooks."""
    for name in ("apprise", "urllib3"):
        library = logging.getLogger(name)
        library.propagate = False
        if not library.handlers:
            library.addHandler(logging.NullHandler())


def _secrets(sink: SinkRules, rules: AlertRules, environment: Mapping[str, str]) -> dict[str, str]:
    """The sink's secrets by name: url, routing_key, password or bearer."""
    found = {}
    for name in ("url", "routing_key", "password", "bearer"):
        file, variable = getattr(sink, f"{name}_file", None), getattr(sink, f"{name}_env", None)
        if file is not None or variable is not None:
            found[name] = read_secret(file, variable, rules.folder, environment)
    return found


def _open(name: str, sink: SinkRules, secrets: Mapping[str, str], redactor: Redactor) -> Sink:
    """Make the sink, and one message of it, so that a wrong secret shows now and not when it matters."""
    match sink:
        case SlackRules():
            make = _slack(secrets["url"], sink.timeout_s)
        case WebhookRules():
            make = _webhook(secrets["url"], secrets.get("bearer"), sink.timeout_s)
        case EmailRules():
            make = _email(sink, secrets.get("password"))
        case PagerDutyRules():
            make = _pagerduty(sink, secrets["routing_key"])
        case AppriseRules():
            make = _any(secrets["url"], sink.timeout_s)
    try:
        make(())
    except (TypeError, ValueError, apprise.exception.AppriseException) as fault:
        raise SinkUnusable(redactor.clean(f"{sink.kind}: {fault}")[:ERROR_LENGTH_MAX]) from None
    batch_max = 1 if isinstance(sink, PagerDutyRules) else BATCH_MAX  # an incident for each
    return AppriseSink(name, make, redactor, sink.timeout_s, batch_max)


def _slack(url: str, timeout_s: float) -> Make:
    parts = urlsplit(_safe(url))
    path = _SLACK_PATH.fullmatch(parts.path)
    if path is None:
        raise SinkUnusable("slack: the URL does not end with the three parts of an incoming webhook")

    def make(_: Sequence[Announcement]) -> NotifyBase:
        plugin = NotifySlack(  # type: ignore[no-untyped-call]  # half of the library is typed
            token_a=path["a"],
            token_b=path["b"],
            token_c=path["c"],
            include_image=False,
            include_footer=False,
            **_common(timeout_s),
        )
        plugin.webhook_url = f"{parts.scheme}://{parts.netloc}{path['base'] or ''}"
        return plugin

    return make


def _webhook(url: str, bearer: str | None, timeout_s: float) -> Make:
    parts = urlsplit(_safe(url))

    def make(announcements: Sequence[Announcement]) -> NotifyBase:
        return NotifyJSON(  # type: ignore[no-untyped-call]
            host=parts.hostname,
            port=parts.port,
            secure=parts.scheme == "https",
            user=parts.username,
            password=parts.password,
            fullpath=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            headers={"Authorization": f"Bearer {bearer}"} if bearer else {},
            payload={"alerts": [dict(json_of(announcement)) for announcement in announcements]},
            **_common(timeout_s),
        )

    return make


def _email(sink: EmailRules, password: str | None) -> Make:
    def make(_: Sequence[Announcement]) -> NotifyBase:
        return NotifyEmail(  # type: ignore[no-untyped-call]
            host=sink.from_address.partition("@")[2],
            smtp_host=sink.host,
            port=sink.port,
            secure=sink.security != "none",
            secure_mode="insecure" if sink.security == "none" else sink.security,
            user=sink.user,
            password=password,
            from_addr=sink.from_address,
            targets=list(sink.to),
            format="text",
            **_common(sink.timeout_s),
        )

    return make


def _pagerduty(sink: PagerDutyRules, routing_key: str) -> Make:
    events_url = _safe(sink.events_url) if sink.events_url else pagerduty.PAGERDUTY_API_LOOKUP[sink.region]
    pagerduty.PAGERDUTY_API_LOOKUP[events_url] = events_url  # apprise has no setting for a relay

    def make(announcements: Sequence[Announcement]) -> NotifyBase:
        plugin = pagerduty.NotifyPagerDuty(
            apikey="-",  # asked for by apprise, not by Events API v2
            integrationkey=routing_key,
            include_image=False,
            **_incident(announcements[0] if announcements else None),
            **_common(sink.timeout_s),
        )
        plugin.region_name = events_url
        return plugin

    return make


def _incident(announcement: Announcement | None) -> dict[str, Any]:
    """One incident for each alert: reminders add to it, the end closes it."""
    if announcement is None:
        return {}
    alert = announcement.alert
    return {
        "source": "zmart",
        "component": alert.alert_type,
        "group": alert.market_id,
        "severity": _PAGERDUTY_SEVERITY[alert.severity],
        "details": facts_of(alert),
        "dedup": alert.dedupe_key[:255],
        "action": "resolve" if announcement.occasion is Occasion.RESOLVED else "trigger",
    }


def _any(url: str, timeout_s: float) -> Make:
    def make(_: Sequence[Announcement]) -> NotifyBase:
        plugin = apprise.Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)
        if plugin is None:
            raise SinkUnusable("apprise does not understand the URL")
        plugin.socket_connect_timeout = plugin.socket_read_timeout = timeout_s
        return plugin

    return make


def _safe(url: str) -> str:
    """The URL, when nobody can read along: https, or our own machine."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise SinkUnusable("the URL is no http or https URL")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise SinkUnusable(f"http to {parts.hostname} would show the secret to everybody on the way: use https")
    return url


def _common(timeout_s: float) -> dict[str, Any]:
    return {"asset": _asset(), "cto": timeout_s, "rto": timeout_s}


def _asset() -> apprise.AppriseAsset:
    """No redirects (a webhook must not send our secret elsewhere); our own time limit instead of the library's."""
    return apprise.AppriseAsset(
        app_id="zmart", app_desc="zmart alerts", app_url="", http_redirects=False, service_timeout=0
    )


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """From a thread; a loop that is closed has nobody who waits."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        logging.getLogger(__name__).debug("nobody waits for this sink any more")
