"""Logs of other processes, read while these write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a log so far: without its last line as long as that has no end, and without what is no JSON."""
    whole, _, _ = path.read_text(errors="replace").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
