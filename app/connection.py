"""connection.json: where everything of a running `zmart up` is, for scripts; secrets included, hence its mode."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog

from app.config import Settings
from app.identities import known_service_key, webhook_secrets
from app.wiring import database_url

log = structlog.get_logger("up")
CONNECTION_FILE = "connection.json"


class ConnectionFile:
    """The file as this process last wrote it."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / CONNECTION_FILE
        self.content: dict[str, Any] = {}

    def remove(self) -> None:
        """Nothing of ours runs here (yet, or any more)."""
        self.path.unlink(missing_ok=True)

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file in one step; raises OSError."""
        self.content = content
        write_private(self.path, json.dumps(content, indent=2))

    def follow(self, pids: dict[str, list[int]]) -> None:
        """Write again when pids changed. A disk that is full for a moment ends nothing: the next look writes."""
        if pids == self.content["pids"]:
            return
        try:
            write_private(self.path, json.dumps(self.content | {"pids": pids}, indent=2))
        except OSError as error:
            log.warning("connection.json not written", error=str(error))
        else:
            self.content["pids"] = pids


def connection_of(settings: Settings, database_url: str, redis_url: str, operator_token: str) -> dict[str, Any]:
    """The contract's connection.json, but for pids."""
    admin = settings.admin_key_path
    return {
        "envoy_url": f"http://{at(settings, 'envoy')}",
        "grpc_target": at(settings, "grpc"),
        "ws_url": f"ws://{at(settings, 'bridge')}/ws",
        "metrics_url": f"http://{at(settings, 'metrics')}/metrics",
        "rpc_url": settings.rpc_url,
        "rpc_ws_url": f"ws://{at(settings, 'ledger_pubsub')}",
        "database_url": database_url,
        "redis_url": redis_url,
        "program_id": settings.program_id,
        "service_key": known_service_key(settings),
        "operator_token": operator_token,
        "webhook_secret": webhook_secrets(settings)[0],
        "admin_keypair": str(admin.absolute()) if admin else None,
        "backend_keypair": str(settings.backend_key_path.absolute()),
        "run_id": settings.run_id,
    }


def at(settings: Settings, name: str) -> str:
    """Host and port of a part, by the name of its port."""
    return f"{settings.host}:{getattr(settings.ports, name)}"


def read_connection(data_dir: Path) -> dict[str, Any]:
    """What a running `zmart up` has written down about itself; raises FileNotFoundError when none runs."""
    connection: dict[str, Any] = json.loads((data_dir / CONNECTION_FILE).read_text())
    return connection


def database_of(settings: Settings) -> str:
    """The database of the settings, else that of the `zmart up` in the data dir; raises SettingMissing without both."""
    if settings.database_url is None:
        with contextlib.suppress(FileNotFoundError):
            return str(read_connection(settings.data_dir)["database_url"])
    return database_url(settings)


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step, mode 0600."""
    draft = path.with_suffix(".partial")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def without_password(url: str) -> str:
    """A URL fit for a screen."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@")
