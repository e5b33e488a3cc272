"""An alert that cannot be stored reaches people all the same, and its outage stays what it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app import clock
from app.alarmed_store import AlarmedStore
from app.config import Settings
from domain.journal import AlertNote
from storage.database import database_pool
from storage.outages import StorageUnavailable
from tests.support.receivers import Receiver

NOTE = AlertNote("fee_cap", "CRITICAL", "fee_cap", None, {"spent_lamports": "5"})
NOBODY = "postgresql://nobody@127.0.0.1:1/none"
RULES = '[sinks.hook]\nkind = "webhook"\nurl_file = "hook"\n[[rules]]\nsinks = ["hook"]\n'


async def test_an_alert_that_cannot_be_stored_goes_to_log_and_sinks_and_the_outage_goes_on(
    secret_files: Path, receiver: Receiver
) -> None:
    (secret_files / "hook").write_text(f"{receiver.url}/hook")
    (secret_files / "rules.toml").write_text(RULES)
    store = AlarmedStore(await database_pool(NOBODY, 1), Settings(alert_rules=secret_files / "rules.toml"))
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(StorageUnavailable):
                await store.raise_alert(NOTE)
            await store.told()
    assert [log["alert_type"] for log in logs if log["event"] == "alert not stored"] == ["fee_cap"] * 3
    ((_, _, body),) = receiver.posts
    assert body["alerts"][0]["data"] == {"spent_lamports": "5"}


async def test_rules_that_became_unusable_hide_neither_the_outage_nor_the_alert(tmp_path: Path) -> None:
    store = AlarmedStore(await database_pool(NOBODY, 1), Settings(alert_rules=tmp_path / "gone.toml"))
    with capture_logs() as logs:
        with pytest.raises(StorageUnavailable):
            await store.raise_alert(NOTE)
        await store.told()
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["alert not stored", "sinks not told"]


async def test_an_alert_that_is_stored_is_told_by_the_delivery_and_by_nobody_else(
    database_url: str, secret_files: Path, receiver: Receiver
) -> None:
    (secret_files / "hook").write_text(f"{receiver.url}/hook")
    (secret_files / "rules.toml").write_text(RULES)
    database = await database_pool(database_url, 1)
    store = AlarmedStore(database, Settings(alert_rules=secret_files / "rules.toml"))
    await store.raise_alert(NOTE)
    await store.told()
    assert receiver.posts == []
    await database.close()


async def test_a_sink_that_failed_is_tried_again_without_another_alert(
    secret_files: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a sink that answers 500, and a clock that only sleeping moves
    (secret_files / "hook").write_text(f"{receiver.url}/hook")
    (secret_files / "rules.toml").write_text(RULES)
    now_s = [1_000_000.0]
    monkeypatch.setattr(clock, "wall_s", lambda: now_s[0])
    receiver.status = 500

    async def sleep(wait_s: float) -> None:
        now_s[0] += wait_s
        if len(receiver.posts) == 2:
            receiver.status = 200

    settings = Settings(alert_rules=secret_files / "rules.toml")
    store = AlarmedStore(await database_pool(NOBODY, 1), settings, sleep)
    # when one alert cannot be stored
    with pytest.raises(StorageUnavailable):
        await store.raise_alert(NOTE)
    await store.told()
    # then it arrives at the third try, and nobody raised it again
    assert [body["alerts"][0]["alert_type"] for _, _, body in receiver.posts] == ["fee_cap"] * 3
