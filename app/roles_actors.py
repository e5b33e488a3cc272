"""`zmart serve actors`: the launcher of the actor tree."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from actors import hardening
from app import wiring
from app.config import Settings
from app.embedded.loopback import kept_secret

STATUS_FILE = "actors.json"


def actor_secret(settings: Settings) -> bytes:
    """The secret that seals messages between our processes: made once for each data dir, mode 0600."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return kept_secret(settings.data_dir / "actors.secret").encode()


def harden(settings: Settings) -> None:
    """Patch Thespian for this process and what it forks; must come before any other use of it."""
    hardening.harden(actor_secret(settings), settings.data_dir / "logs", host=settings.host)


def serve(settings: Settings) -> None:
    """Run the tree until SIGTERM or SIGINT, then drain it."""
    harden(settings)
    from actors.launcher import Launcher

    if settings.otlp_endpoint is not None:
        import app.tracing  # noqa: F401  # 0.2 s, here once instead of at the start of every process that is forked

    status = settings.data_dir / STATUS_FILE

    def started(pids: dict[str, int]) -> None:
        write_status(status, {"run_id": settings.run_id, "launcher": os.getpid(), **pids})

    launcher = Launcher(settings.ports.actor_admin, wiring.node(settings), started)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, launcher.stop)
    launcher.run()


def write_status(path: Path, status: dict[str, object]) -> None:
    """Replace the file in one step, so that nobody reads half of it."""
    draft = path.with_suffix(".partial")
    draft.write_text(json.dumps(status))
    draft.replace(path)
