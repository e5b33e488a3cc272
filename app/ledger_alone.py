"""What `zmart ledger`, run by itself, writes down for scripts: its part of connection.json."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from app.config import Settings
from app.connection import CONNECTION_FILE, write_private
from chain.ledger import Ledger


def write_connection(settings: Settings, ledger: Ledger) -> Path:
    """Write the file (mode 0600), print where the ledger is, and return the path to remove at the end."""
    path = settings.data_dir.absolute() / CONNECTION_FILE
    keys = path.parent / "ledger" / "keys"
    connection = {
        "rpc_url": ledger.rpc_url,
        "rpc_ws_url": ledger.pubsub_url,
        "program_id": settings.program_id,
        "admin_keypair": str(keys / "admin.json"),
        "backend_keypair": str(keys / "backend.json"),
        "pids": {"ledger": [os.getpid()]},
    }
    write_private(path, json.dumps(connection, indent=2))
    click.echo(f"{ledger.rpc_url} {ledger.pubsub_url}\nzmart ledger is ready")
    return path
