"""Logs: one JSON object a line on stderr, written by the process that it is about."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logs(level: str, **context: str) -> None:
    """Set structlog up for this process and what it forks; `context` is on every line.

    Foreign libraries' records (stdlib logging) take the same way at WARNING, so that one reader understands all.
    """
    name_logs(**context)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer(), foreign_pre_chain=shared)
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def name_logs(**context: str) -> None:
    """Put `context`, and nothing else, on every line from now on; what a forked process does instead of configuring."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**context)
