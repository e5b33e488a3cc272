"""The rules file: which sinks there are, which alerts go to which, and how often people are reminded (TOML).

Guarantee: a file that is read is right as a whole, secrets aside: no unknown name, no rule that names a missing sink.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.alerts import Occasion, Severity, StoredAlert

SINKS_MAX = 32
RULES_MAX = 256
TIMEOUT_S = 10.0
"""How long one sending may take, unless the sink says otherwise."""
REMINDER_S: Mapping[Severity, float | None] = {
    Severity.CRITICAL: 900.0,
    Severity.HIGH: 3_600.0,
    Severity.MEDIUM: 86_400.0,
    Severity.LOW: None,
}
"""After which silence an alert that goes on is said again; None: once is enough."""


class UnusableRules(ValueError):
    """The rules file cannot be read or is wrong; says where, never repeats a value."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _SinkRules(_Part):
    timeout_s: float = Field(TIMEOUT_S, gt=0, le=60)
    send_resolved: bool | None = None
    """Whether it hears that an alert was resolved; unset: yes for pagerduty, whose incidents end with it."""


class _UrlSink(_SinkRules):
    """Its URL is a secret, and comes from a file or the environment."""

    url_file: Path | None = None
    url_env: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        _need_one(self, "url_file", "url_env")
        return self


class SlackRules(_UrlSink):
    """An incoming webhook of Slack, or of what speaks like it."""

    kind: Literal["slack"]


class WebhookRules(_UrlSink):
    """Any HTTP endpoint that takes JSON; `bearer_*` is sent as `Authorization: Bearer`."""

    kind: Literal["webhook"]
    bearer_file: Path | None = None
    bearer_env: str | None = None


class AppriseRules(_UrlSink):
    """Any service that apprise knows, by its URL."""

    kind: Literal["apprise"]


class PagerDutyRules(_SinkRules):
    """Events API v2; `events_url` is for a relay that speaks it."""

    kind: Literal["pagerduty"]
    routing_key_file: Path | None = None
    routing_key_env: str | None = None
    region: Literal["us", "eu"] = "us"
    events_url: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        _need_one(self, "routing_key_file", "routing_key_env")
        return self


class EmailRules(_SinkRules):
    """SMTP; a `user` needs a password from a file or the environment."""

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["email"]
    host: str = Field(min_length=1)
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "ssl", "none"] = "starttls"
    user: str | None = None
    password_file: Path | None = None
    password_env: str | None = None
    from_address: str = Field(alias="from", pattern=r"^[^@\s<>]+@[^@\s<>]+$")
    to: tuple[Annotated[str, Field(pattern=r"^[^@\s<>]+@[^@\s<>]+$")], ...] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.user is not None:
            _need_one(self, "password_file", "password_env")
        return self


SinkRules = SlackRules | WebhookRules | AppriseRules | PagerDutyRules | EmailRules


class Rule(_Part):
    """Alerts of these severities, whose type and market fit these patterns, go to these sinks; what is absent fits."""

    severity: tuple[Severity, ...] = tuple(Severity)
    type: str = Field("*", min_length=1)
    market: str = Field("*", min_length=1)
    sinks: tuple[str, ...]
    last: bool = False
    """Rules below this one are not looked at for what fits here."""

    def fits(self, severity: Severity, alert_type: str, market_id: str | None) -> bool:
        """Whether an alert falls under it."""
        fits_market = fnmatchcase(market_id or "", self.market)
        return severity in self.severity and fnmatchcase(alert_type, self.type) and fits_market


class _File(_Part):
    sinks: dict[str, Annotated[SinkRules, Field(discriminator="kind")]] = Field(
        default_factory=dict, max_length=SINKS_MAX
    )
    rules: tuple[Rule, ...] = Field((), max_length=RULES_MAX)
    reminder_s: dict[Severity, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _only_known_sinks(self) -> Self:
        for number, rule in enumerate(self.rules, 1):
            if unknown := set(rule.sinks) - set(self.sinks):
                raise ValueError(f"rule {number} names a sink that is not there: {', '.join(sorted(unknown))}")
        return self


@dataclass(frozen=True, slots=True)
class AlertRules:
    """What the file says; without a file there is no sink, and alerts are stored and logged only."""

    sinks: Mapping[str, SinkRules] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    reminder_s: Mapping[Severity, float | None] = field(default_factory=lambda: dict(REMINDER_S))
    folder: Path = Path()
    """Where the file lies; files of secrets are named relative to it."""

    def sinks_for(self, alert: StoredAlert, unless_told: bool = False) -> tuple[str, ...]:
        """The sinks of every rule that fits, each once; of an end only those that hear of ends.

        With `unless_told` a sink hears of ends unless its rules say that it does not: what nobody can look up in the
        database has to be said.
        """
        names: dict[str, None] = {}
        for rule in self.rules:
            if rule.fits(alert.severity, alert.alert_type, alert.market_id):
                names |= dict.fromkeys(rule.sinks)
                if rule.last:
                    break
        if alert.occasion is not Occasion.RESOLVED:
            return tuple(names)
        return tuple(name for name in names if self._hears_ends(name, unless_told))

    def _hears_ends(self, name: str, unless_told: bool) -> bool:
        sink = self.sinks[name]
        if sink.send_resolved is None:
            return unless_told or sink.kind == "pagerduty"
        return sink.send_resolved


def read_rules(path: Path | None) -> AlertRules:
    """The rules in that file; None is no file. Raises UnusableRules."""
    if path is None:
        return AlertRules()
    try:
        read = _File.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        raise UnusableRules(path, _first_fault(error)) from None  # its chain would print what was given
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnusableRules(path, str(error)) from error
    windows = {severity: read.reminder_s.get(severity, REMINDER_S[severity]) or None for severity in Severity}
    return AlertRules(read.sinks, read.rules, windows, path.parent)


def _first_fault(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    where = ".".join(str(part) for part in faults[0]["loc"])
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{where}: {faults[0]['msg']}{more}".removeprefix(": ")


def _need_one(part: BaseModel, *names: str) -> None:
    if sum(getattr(part, name) is not None for name in names) != 1:
        raise ValueError(f"give one of {' and '.join(names)}")
