"""Leaves OpenTelemetry out of a process that traces nothing."""

from __future__ import annotations

import sys


def leave_opentelemetry_out() -> None:
    """Let every import of it fail from now on: redis-py takes it wherever it is installed, 0.2 s and 10 MB a process.

    Called before anything imports redis-py, which does without it then.
    """
    sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]  # what the language offers for this
