"""Alarm without the database: remembered in memory, tried again, never a failure of who raises it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from alerts.direct import KEYS_MAX, DirectAlarm
from alerts.ports import SinkFailed
from alerts.rules import read_rules
from domain.alerts import Announcement
from domain.journal import AlertNote


class Ear:
    """A sink that hears, or is `deaf`."""

    timeout_s, batch_max = 1.0, 50

    def __init__(self, name: str) -> None:
        self.name, self.heard, self.deaf = name, list[str](), False

    async def send(self, announcements: Sequence[Announcement]) -> None:
        if self.deaf:
            raise SinkFailed("deaf")
        self.heard += [f"{told.occasion} {told.alert.dedupe_key} x{told.alert.occurrences}" for told in announcements]


class Office:
    def __init__(self, folder: Path) -> None:
        self.now_s = 1000.0
        self.a, self.b = Ear("a"), Ear("b")
        text = "".join(f'[sinks.{name}]\nkind = "webhook"\nurl_env = "X"\n' for name in "ab")
        (folder / "rules.toml").write_text(f'{text}[[rules]]\nseverity = ["CRITICAL"]\nsinks = ["a", "b"]\n')
        rules = read_rules(folder / "rules.toml")
        self.alarm = DirectAlarm(rules, {"a": self.a, "b": self.b}, lambda: self.now_s, lambda: "id", random.Random(1))

    async def raise_(self, key: str = "k") -> None:
        self.alarm.note(AlertNote("database_down", "CRITICAL", key, None, {}))
        await self.alarm.turn()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


async def test_an_alarm_goes_to_every_sink_once_and_again_after_its_window(office: Office) -> None:
    for _ in range(10):
        await office.raise_()
    assert office.a.heard == office.b.heard == ["raised k x1"]
    office.now_s += 900
    await office.raise_()
    assert office.a.heard == ["raised k x1", "reminder k x11"]


async def test_a_deaf_sink_keeps_no_other_from_hearing_and_is_tried_again(office: Office) -> None:
    office.a.deaf = True
    await office.raise_()
    assert (office.a.heard, office.b.heard) == ([], ["raised k x1"])
    office.a.deaf = False
    await office.alarm.turn()
    assert office.a.heard == [], "not before its time"
    office.now_s += 10
    await office.alarm.turn()
    assert (office.a.heard, office.b.heard) == (["raised k x1"], ["raised k x1"])


async def test_the_end_is_told_once_and_what_comes_after_it_is_new(office: Office) -> None:
    await office.raise_()
    assert office.alarm.end("k") is not None
    assert office.alarm.end("k") is None
    await office.alarm.turn()
    await office.raise_()
    assert office.a.heard == ["raised k x1", "resolved k x1", "raised k x1"]
    assert office.alarm.end("never heard of") is None


async def test_who_never_heard_of_it_hears_of_the_end_when_it_listens_again(office: Office) -> None:
    office.a.deaf = True
    await office.raise_()
    office.alarm.end("k")
    await office.alarm.turn()
    office.a.deaf = False
    office.now_s += 100
    await office.alarm.turn()
    assert office.a.heard == ["resolved k x1"]


async def test_what_is_remembered_has_a_bound(office: Office) -> None:
    for number in range(KEYS_MAX + 10):
        office.alarm.note(AlertNote("database_down", "CRITICAL", str(number), None, {}))
    assert len(office.alarm._open) == KEYS_MAX
    assert "0" not in office.alarm._open
