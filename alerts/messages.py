"""What people read: announcements as a title, a text and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from domain.alerts import Announcement, Occasion, StoredAlert

TITLE_LENGTH_MAX = 150
FACT_LENGTH_MAX = 300
ALERT_TEXT_LENGTH_MAX = 2_000
"""Fifty of them stay below what Slack and mail servers take only together with `TEXT_LENGTH_MAX`."""
TEXT_LENGTH_MAX = 12_000
_WORDS = {Occasion.RAISED: "", Occasion.REMINDER: "still: ", Occasion.RESOLVED: "resolved: "}


def title_of(announcements: Sequence[Announcement]) -> str:
    """One line: the worst alert, and how many others."""
    worst = min(announcements, key=lambda announcement: announcement.alert.severity.rank)
    more = f" (and {len(announcements) - 1} more)" if len(announcements) > 1 else ""
    alert = worst.alert
    return _line(f"{alert.severity}: {_WORDS[worst.occasion]}{alert.alert_type}", TITLE_LENGTH_MAX - len(more)) + more


def text_of(announcements: Sequence[Announcement]) -> str:
    """Every announcement, a paragraph each, as far as the bound goes."""
    paragraphs = [_paragraph(announcement) for announcement in announcements]
    return _cut("\n\n".join(paragraphs), TEXT_LENGTH_MAX)


def json_of(announcement: Announcement) -> Mapping[str, Any]:
    """One announcement for machines; field names as in the API."""
    alert = announcement.alert
    return {
        "occasion": announcement.occasion.value,
        "id": alert.alert_id,
        "dedupe_key": alert.dedupe_key,
        "alert_type": alert.alert_type,
        "severity": alert.severity.value,
        "status": alert.status.value,
        "market_id": alert.market_id or "",
        "data": dict(alert.data),
        "occurrences": alert.occurrences,
        "created_at": rfc3339(alert.created_at),
        "last_at": rfc3339(alert.last_at),
    }


def facts_of(alert: StoredAlert) -> dict[str, str]:
    """What is known, one line a fact."""
    facts = {"market": alert.market_id} if alert.market_id else {}
    return facts | {name: _line(value, FACT_LENGTH_MAX) for name, value in alert.data.items() if name != "market_id"}


def rfc3339(instant: datetime) -> str:
    """The instant in UTC, to the second."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _paragraph(announcement: Announcement) -> str:
    alert = announcement.alert
    lines = [f"{alert.severity}: {_WORDS[announcement.occasion]}{alert.alert_type}"]
    lines += [f"{name}: {fact}" for name, fact in facts_of(alert).items()]
    times = f"{alert.occurrences} times since" if alert.occurrences > 1 else "at"
    lines.append(f"{times} {rfc3339(alert.created_at)}, last {rfc3339(alert.last_at)}, id {alert.alert_id}")
    return _cut("\n".join(lines), ALERT_TEXT_LENGTH_MAX)


def _line(text: str, length_max: int) -> str:
    return _cut(" ".join(text.split()), length_max)


def _cut(text: str, length_max: int) -> str:
    return text if len(text) <= length_max else text[: length_max - 3] + "..."
