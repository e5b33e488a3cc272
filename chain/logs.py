"""Which `Program data:` lines of a transaction are really ours: a call stack over its log (CI 7.2, C3).

Pure. Everybody may call our program and everybody may log: a line counts only while our program is on top of the stack,
only if the runtime wrote its prefix, only in a transaction that succeeded, and only in front of `Log truncated`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_INVOKE = re.compile(r"Program ([1-9A-HJ-NP-Za-km-z]{32,44}) invoke \[([1-9]\d{0,2})\]")
_END = re.compile(r"Program ([1-9A-HJ-NP-Za-km-z]{32,44}) (?:success|failed: .*)", re.DOTALL)
_DATA = "Program data: "
_TRUNCATED = "Log truncated"


class LogFlag(StrEnum):
    """What is wrong with a log; with TRUNCATED or STACK_MISMATCH events may be missing: read the accounts instead."""

    TRUNCATED = "truncated"
    STACK_MISMATCH = "stack mismatch"
    BAD_BASE64 = "bad base64"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DataLine:
    """One accepted line: `ordinal` counts the accepted lines of the transaction from 0, and names the event (T32)."""

    ordinal: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class ParsedLog:
    """The accepted lines in order, all before the first fault in the stack; `flags` is empty when all is well."""

    lines: tuple[DataLine, ...] = ()
    flags: frozenset[LogFlag] = frozenset()

    @property
    def is_ok(self) -> bool:
        """Nothing is wrong and nothing is missing."""
        return not self.flags

    @property
    def is_incomplete(self) -> bool:
        """Events may be missing; fetching the transaction again does not bring them back (C3)."""
        return bool(self.flags & {LogFlag.TRUNCATED, LogFlag.STACK_MISMATCH})


def parse_log(messages: Iterable[str], program_id: str, has_failed: bool) -> ParsedLog:
    """Read `logMessages` as a node gives them, one string per message: they may hold line breaks, never join them.

    `has_failed` says that `meta.err` is not null: a failed transaction keeps its log, and nothing in it happened.
    """
    if has_failed:
        return ParsedLog(flags=frozenset({LogFlag.FAILED}))
    return _Walk(program_id).over(messages)


class _Walk:
    """One pass over a log."""

    def __init__(self, program_id: str) -> None:
        self._program_id = program_id
        self._stack: list[str] = []
        self._accepted: list[DataLine] = []
        self._flags: set[LogFlag] = set()

    def over(self, messages: Iterable[str]) -> ParsedLog:
        for message in messages:
            stop = self._stop(message)
            if stop is not None:
                # behind either, nobody can say whose frame a line is in: later lines may lack their invoke (C3)
                self._flags.add(stop)
                break
        else:
            if self._stack:
                self._flags.add(LogFlag.STACK_MISMATCH)
        return ParsedLog(tuple(self._accepted), frozenset(self._flags))

    def _stop(self, message: str) -> LogFlag | None:
        if message.startswith(_DATA):
            if self._stack and self._stack[-1] == self._program_id:
                self._accept(message[len(_DATA) :])
            return None
        if message == _TRUNCATED:
            return LogFlag.TRUNCATED
        if message.startswith("Program ") and not self._fits(message):
            return LogFlag.STACK_MISMATCH
        return None

    def _fits(self, message: str) -> bool:
        """Follow a call or a return; False when it does not continue the stack."""
        if invoked := _INVOKE.fullmatch(message):
            self._stack.append(invoked[1])
            return int(invoked[2]) == len(self._stack)
        if ended := _END.fullmatch(message):
            return bool(self._stack) and self._stack.pop() == ended[1]
        return True

    def _accept(self, fields: str) -> None:
        """Anchor's `emit!` logs exactly one field; a line with several is some other use of `sol_log_data`."""
        if not fields or " " in fields:
            return
        try:
            raw = base64.b64decode(fields, validate=True)
        except (binascii.Error, ValueError):
            self._flags.add(LogFlag.BAD_BASE64)
            return
        if base64.b64encode(raw).decode() != fields:
            self._flags.add(LogFlag.BAD_BASE64)
            return
        self._accepted.append(DataLine(len(self._accepted), raw))
