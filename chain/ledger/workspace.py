"""What one transaction sees and changes while it runs; nothing leaves it before the transaction has succeeded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chain.ledger.accounts import ABSENT, Account, key_text
from chain.ledger.failures import InstructionFailure
from chain.ledger.transactions import Meta

CALL_DEPTH_MAX = 5
LOG_BYTES_MAX = 10_000
"""A node keeps this much log of one transaction, then writes `Log truncated` and drops what does not fit (C3)."""

Program = Callable[["Frame"], None]


@dataclass(frozen=True, slots=True)
class InnerCall:
    """One cross-program call, for the transaction's record."""

    outer_index: int
    program_id: bytes
    keys: tuple[bytes, ...]
    data: bytes
    depth: int


class Log:
    """The transaction's log lines within a node's byte limit."""

    def __init__(self, bytes_max: int = LOG_BYTES_MAX) -> None:
        self.lines: list[str] = []
        self._bytes = 0
        self._bytes_max = bytes_max
        self._is_truncated = False

    def add(self, line: str) -> None:
        """Append `line`; what does not fit is dropped and one marker is written, later shorter lines may still fit."""
        size = len(line) if line.isascii() else len(line.encode())
        if self._bytes + size >= self._bytes_max:
            if not self._is_truncated:
                self.lines.append("Log truncated")
                self._is_truncated = True
            return
        self._bytes += size
        self.lines.append(line)


@dataclass(slots=True)
class Meter:
    """Compute units: `left` of the budget after each instruction."""

    budget: int
    left: int

    @property
    def used(self) -> int:
        """Units spent so far."""
        return self.budget - self.left

    def spend(self, units: int) -> None:
        """Use `units`; raises when the budget does not reach, leaving none."""
        if units > self.left:
            self.left = 0
            raise InstructionFailure("ComputationalBudgetExceeded")
        self.left -= units


@dataclass(slots=True)
class Workspace:
    """The accounts, log, meter and clock of one running transaction."""

    read: Callable[[bytes], Account | None]
    programs: Mapping[bytes, Program]
    builtins: frozenset[bytes]
    unix_s: int
    slot: int
    meter: Meter
    log: Log = field(default_factory=Log)
    changed: dict[bytes, Account] = field(default_factory=dict)
    inner: list[InnerCall] = field(default_factory=list)
    outer_index: int = 0

    def account(self, key: bytes) -> Account:
        """The account as this transaction sees it now."""
        if key in self.changed:
            return self.changed[key]
        return self.read(key) or ABSENT

    def run(self, program_id: bytes, metas: tuple[Meta, ...], data: bytes, depth: int) -> None:
        """Run one instruction inside its invoke/success lines; raises `InstructionFailure` after the `failed` line."""
        name = key_text(program_id)
        self.log.add(f"Program {name} invoke [{depth}]")
        before = self.meter.left
        try:
            self.programs[program_id](Frame(self, program_id, metas, data, depth))
        except InstructionFailure as failure:
            self._log_consumed(program_id, before)
            final = self._as_loader_says(program_id, failure)
            self.log.add(f"Program {name} failed: {final.logged}")
            if final is failure:
                raise
            raise final from failure
        self._log_consumed(program_id, before)
        self.log.add(f"Program {name} success")

    def run_inside(self, foreign: bytes, program_id: bytes, metas: tuple[Meta, ...], data: bytes) -> None:
        """Run one instruction as if the program `foreign` had called it; raises as `run`.

        The foreign frame repeats the instruction's first data line as its own: whoever counts that one has been
        deceived (C3).
        """
        name = key_text(foreign)
        self.log.add(f"Program {name} invoke [1]")
        before, written = self.meter.left, len(self.log.lines)
        try:
            self.run(program_id, metas, data, depth=2)
        except InstructionFailure as failure:
            self._log_consumed(foreign, before)
            self.log.add(f"Program {name} failed: {failure.logged}")
            raise
        forged = next((line for line in self.log.lines[written:] if line.startswith("Program data: ")), None)
        if forged is not None:
            self.log.add(forged)
        self._log_consumed(foreign, before)
        self.log.add(f"Program {name} success")

    def _as_loader_says(self, program_id: bytes, failure: InstructionFailure) -> InstructionFailure:
        """A program in machine code cannot report that its own budget ran out; its loader does, in other words."""
        if failure.name != "ComputationalBudgetExceeded" or program_id in self.builtins:
            return failure
        return InstructionFailure("ProgramFailedToComplete", logged="exceeded CUs meter at BPF instruction")

    def _log_consumed(self, program_id: bytes, before: int) -> None:
        if program_id not in self.builtins:
            used = before - self.meter.left
            self.log.add(f"Program {key_text(program_id)} consumed {used} of {before} compute units")


@dataclass(frozen=True, slots=True)
class Frame:
    """One instruction in flight: its accounts, data and rights."""

    workspace: Workspace
    program_id: bytes
    metas: tuple[Meta, ...]
    data: bytes
    depth: int

    def meta(self, index: int) -> Meta:
        """Account `index` of the instruction; raises `NotEnoughAccountKeys`."""
        if index >= len(self.metas):
            raise InstructionFailure("NotEnoughAccountKeys")
        return self.metas[index]

    def account(self, key: bytes) -> Account:
        """The account as the transaction sees it now."""
        return self.workspace.account(key)

    def write(self, meta: Meta, account: Account) -> None:
        """Replace the account; raises what the runtime raises for a read-only one."""
        before = self.account(meta.key)
        if account == before:
            return
        if not meta.is_writable:
            is_data = account.data != before.data or account.owner != before.owner
            raise InstructionFailure("ReadonlyDataModified" if is_data else "ReadonlyLamportChange")
        self.workspace.changed[meta.key] = account

    def spend(self, units: int) -> None:
        """Use compute units."""
        self.workspace.meter.spend(units)

    def log(self, text: str) -> None:
        """A line of the program's own, or of a builtin when the caller gives the whole line."""
        self.workspace.log.add(text)

    def invoke(self, program_id: bytes, metas: tuple[Meta, ...], data: bytes, signing: frozenset[bytes]) -> None:
        """Call another program; `signing` are PDAs of this program that sign. Rights can never grow on the way."""
        if self.depth >= CALL_DEPTH_MAX:
            raise InstructionFailure("CallDepth")
        own = {meta.key: meta for meta in self.metas}
        for meta in metas:
            granted = own.get(meta.key)
            may_sign = meta.key in signing or (granted is not None and granted.is_signer)
            if meta.is_signer and not may_sign:
                self.log(f"{key_text(meta.key)}'s signer privilege escalated")
                raise InstructionFailure("PrivilegeEscalation")
            if meta.is_writable and not (granted and granted.is_writable):
                self.log(f"{key_text(meta.key)}'s writable privilege escalated")
                raise InstructionFailure("PrivilegeEscalation")
        inner = InnerCall(
            self.workspace.outer_index, program_id, tuple(meta.key for meta in metas), data, self.depth + 1
        )
        self.workspace.inner.append(inner)
        self.workspace.run(program_id, metas, data, self.depth + 1)
