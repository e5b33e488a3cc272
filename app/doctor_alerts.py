"""What the doctor sees of alerts: whether the rules file is right, and whether each sink could be used."""

from __future__ import annotations

import os
from collections.abc import Iterator

from alerts.rules import AlertRules, UnusableRules, read_rules
from app.config import Settings
from app.diagnosis import Finding, error, judge_mode, ok, warning

SECRET_FILES = ("url_file", "routing_key_file", "password_file", "bearer_file")


def alert_findings(settings: Settings) -> list[Finding]:
    """Nothing is sent; secrets are read and never shown."""
    if settings.alert_rules is None:
        return [_nobody(settings)]
    try:
        rules = read_rules(settings.alert_rules)
    except UnusableRules as fault:
        return [
            error("alerts", str(fault), "Correct the rules file; docs/alerts.md and deploy/alerts.example.toml help.")
        ]
    return list(_sinks(rules))


def _nobody(settings: Settings) -> Finding:
    if settings.env == "production":
        mend = "Set ZMART_ALERT_RULES to a rules file; deploy/alerts.example.toml is one."
        return warning("alerts", "no rules file: nobody is told of alerts", mend)
    return ok("alerts", "no rules file: alerts are stored and logged only")


def _sinks(rules: AlertRules) -> Iterator[Finding]:
    from alerts.sinks import open_sinks  # a second of imports that nobody without sinks needs

    sinks, unusable, _ = open_sinks(rules, os.environ)
    yield ok("alerts", f"{len(rules.rules)} rules, {len(rules.sinks)} sinks")
    unheard = set(rules.sinks) - {name for rule in rules.rules for name in rule.sinks}
    for name in rules.sinks:
        if name in unusable:
            yield error(f"sink {name}", str(unusable[name]), "Give the secret as docs/alerts.md says.")
        elif name in unheard:
            yield warning(f"sink {name}", "no rule names it: it hears of nothing", "Name it in a rule, or remove it.")
        else:
            yield ok(f"sink {name}", f"{rules.sinks[name].kind}, up to {sinks[name].timeout_s:g} s")
        yield from _modes(rules, name)


def _modes(rules: AlertRules, name: str) -> Iterator[Finding]:
    for field in SECRET_FILES:
        file = getattr(rules.sinks[name], field, None)
        if file is not None and (path := rules.folder / file).is_file():
            yield from judge_mode(f"sink {name}", path, path.stat().st_mode)
