"""What the doctor says about alerts: never a secret, and how to mend what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import Settings
from app.diagnosis import Verdict
from app.doctor_alerts import alert_findings

RULES = """
[sinks.hook]
kind = "webhook"
url_file = "hook"

[sinks.quiet]
kind = "webhook"
url_env = "QUIET_HOOK"

[[rules]]
sinks = ["hook"]
"""


def settings(rules: Path | None) -> Settings:
    return Settings(alert_rules=rules)


def test_without_a_file_nobody_is_told_and_that_is_fine_on_a_developers_machine() -> None:
    (finding,) = alert_findings(settings(None))
    assert finding.verdict is Verdict.OK
    production = settings(None).model_copy(update={"env": "production"})
    (finding,) = alert_findings(production)
    assert (finding.verdict, "ZMART_ALERT_RULES" in finding.mend) == (Verdict.WARNING, True)


def test_a_wrong_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("[[rules]]\nsinks = ['nobody']")
    (finding,) = alert_findings(settings(tmp_path / "rules.toml"))
    assert finding.verdict is Verdict.ERROR
    assert "names a sink that is not there: nobody" in finding.seen


def test_each_sink_is_judged_and_no_secret_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "hook").write_text("https://hooks.example.org/s3cr3t-path")
    (tmp_path / "hook").chmod(0o644)
    monkeypatch.setenv("QUIET_HOOK", "https://hooks.example.org/s3cr3t-path")
    findings = alert_findings(settings(tmp_path / "rules.toml"))
    assert [(finding.subject, finding.verdict.value) for finding in findings] == [
        ("alerts", "ok"),
        ("sink hook", "ok"),
        ("sink hook", "warning"),
        ("sink quiet", "warning"),
    ]
    assert "chmod 600" in findings[2].mend
    assert "no rule names it" in findings[3].seen
    assert "s3cr3t" not in repr(findings)
    monkeypatch.delenv("QUIET_HOOK")
    assert alert_findings(settings(tmp_path / "rules.toml"))[-1].verdict is Verdict.ERROR
