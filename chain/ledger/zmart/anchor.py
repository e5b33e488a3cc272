"""Anchor's side of an instruction: arguments, account checks in Anchor's order, write-back, error lines.

The order is that of CI 8: every account is loaded in list order, then `init` accounts are created, then the other
constraints run account by account, then the handler; what a handler changed is written back at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

from solders.pubkey import Pubkey

from chain.errors import Build, numbers_of, words_of
from chain.ledger import builtins
from chain.ledger.accounts import SYSTEM_PROGRAM, Account, key_text, rent_exempt_lamports
from chain.ledger.borsh import BorshError, Kind, Layout
from chain.ledger.failures import InstructionFailure
from chain.ledger.transactions import Meta
from chain.ledger.workspace import Frame
from chain.ledger.zmart.events import event_line
from chain.ledger.zmart.lmsr import MathsError
from chain.ledger.zmart.records import DISCRIMINATOR_BYTES, Record, discriminator

HANDLER_UNITS = 20_000
"""Nominal compute units of one zmart_core instruction; the ledger does not run its machine code."""

ADDRESSES_KEPT = 65_536
"""Derived addresses remembered; finding one costs up to 255 hashes."""

R = TypeVar("R", bound=Record)
Check = tuple[Callable[["Context"], bool], str]
Seeds = Callable[["Context"], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of an instruction's account list (CI 6.1)."""

    name: str
    is_signer: bool = False
    is_writable: bool = False
    record: type[Record] | None = None
    seeds: Seeds | None = None
    program: bytes | None = None
    """The program this account must be."""
    payer: str | None = None
    """Set when the instruction creates the account: who pays its rent."""
    is_created_once: bool = False
    """Anchor's `init_if_needed`: an account that is there already is loaded instead."""
    checks: tuple[Check, ...] = ()


@dataclass(slots=True)
class Loaded:
    """One account in hand: `value` is the decoded record of a typed account."""

    meta: Meta
    rule: Rule
    value: Record | None = None
    bump: int = 0


@dataclass(slots=True)
class Context:
    """What a handler sees."""

    frame: Frame
    build: Build
    source: str = ""
    args: tuple[Any, ...] = ()
    accounts: dict[str, Loaded] = field(default_factory=dict)

    @property
    def now_s(self) -> int:
        """The Clock sysvar's Unix time."""
        return self.frame.workspace.unix_s

    def key(self, name: str) -> bytes:
        """The address given as `name`."""
        return self.accounts[name].meta.key

    def record(self, name: str, kind: type[R]) -> R:
        """The decoded account `name`."""
        value = self.accounts[name].value
        assert isinstance(value, kind)
        return value

    def bump(self, name: str) -> int:
        """The bump found for the PDA `name`."""
        return self.accounts[name].bump

    def require(self, holds: bool, error: str) -> None:
        """Anchor's `require!`: raise the program's error unless `holds`."""
        if not holds:
            raise refused(self, error, thrown_in=self.source)

    def emit(self, name: str, *values: Any) -> None:
        """Anchor's `emit!`: one `Program data:` line, in the layout of the build that runs."""
        self.frame.log(event_line(name, *values, build=self.build))

    def lamports(self, name: str) -> int:
        """What the account `name` holds, rent included."""
        return self.frame.account(self.key(name)).lamports

    def pay_out(self, source: str, target: str, lamports: int) -> None:
        """Move lamports out of an account of the program's own, which must stay rent-exempt (CI 10.9)."""
        paying = self.frame.account(self.key(source))
        self.require(paying.lamports >= lamports, "InsufficientFunds")
        rest = paying.lamports - lamports
        self.require(rest >= rent_exempt_lamports(len(paying.data)), "WouldBreakRentExemption")
        self.frame.write(self.accounts[source].meta, replace(paying, lamports=rest))
        receiving = self.frame.account(self.key(target))
        self.frame.write(self.accounts[target].meta, replace(receiving, lamports=receiving.lamports + lamports))

    def transfer(self, source: str, target: str, lamports: int) -> None:
        """Ask the System program to move lamports; `source` signs only if the transaction has its signature."""
        metas, data = builtins.system_transfer(self.key(source), self.key(target), lamports)
        self.frame.invoke(SYSTEM_PROGRAM, metas, data, frozenset())


Handler = Callable[[Context], None]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of the program."""

    name: str
    args: tuple[Kind, ...]
    rules: tuple[Rule, ...]
    handler: Handler
    layout: Layout

    @property
    def tag(self) -> bytes:
        """The eight bytes that call it."""
        return discriminator("global", self.name)

    @property
    def log_name(self) -> str:
        """Its name in the log line."""
        return "".join(word.capitalize() for word in self.name.split("_"))


def instruction(name: str, args: Sequence[Kind], rules: Sequence[Rule], handler: Handler) -> Instruction:
    """Declare one instruction."""
    return Instruction(name, tuple(args), tuple(rules), handler, Layout(args))


def refused(
    context: Context, error: str, account: str | None = None, thrown_in: str | None = None, sides: Sequence[str] = ()
) -> InstructionFailure:
    """Log the AnchorError line of `error` and give the failure to raise; `sides` are its Left and Right values."""
    number = numbers_of(context.build)[error]
    origin = "AnchorError occurred."
    if account is not None:
        origin = f"AnchorError caused by account: {account}."
    elif thrown_in is not None:
        origin = f"AnchorError thrown in {thrown_in}."
    log = context.frame.log
    log(f"Program log: {origin} Error Code: {error}. Error Number: {number}. Error Message: {words_of(error)}.")
    for title, value in zip(("Left:", "Right:"), sides, strict=False):
        log(f"Program log: {title}")
        log(f"Program log: {value}")
    return InstructionFailure(custom=number)


def dispatch(frame: Frame, table: Mapping[bytes, Instruction], build: Build) -> None:
    """Run the instruction that `frame.data` names."""
    context = Context(frame, build)
    called = table.get(frame.data[:DISCRIMINATOR_BYTES])
    if called is None:
        frame.spend(HANDLER_UNITS)
        raise refused(context, "InstructionFallbackNotFound")
    frame.log(f"Program log: Instruction: {called.log_name}")
    frame.spend(HANDLER_UNITS)
    context.source = f"programs/zmart-core/src/instructions/{called.name}.rs:1"
    context.args = _arguments(context, called)
    _load_all(context, called.rules)
    _create_all(context)
    _constrain_all(context)
    try:
        called.handler(context)
    except MathsError as error:
        raise refused(context, error.name, thrown_in=context.source) from error
    _write_back(context)


def _arguments(context: Context, called: Instruction) -> tuple[Any, ...]:
    try:
        values, _ = called.layout.decode(context.frame.data[DISCRIMINATOR_BYTES:])
    except BorshError as error:
        raise refused(context, "InstructionDidNotDeserialize") from error
    return tuple(values)


def _load_all(context: Context, rules: Sequence[Rule]) -> None:
    for index, rule in enumerate(rules):
        if index >= len(context.frame.metas):
            raise refused(context, "AccountNotEnoughKeys", account=rule.name)
        loaded = Loaded(context.frame.metas[index], rule)
        context.accounts[rule.name] = loaded
        if rule.payer is None:
            _load(context, loaded)


def _load(context: Context, loaded: Loaded) -> None:
    rule, key = loaded.rule, loaded.meta.key
    if rule.is_signer and not loaded.meta.is_signer:
        raise refused(context, "AccountNotSigner", account=rule.name)
    if rule.program is not None and key != rule.program:
        sides = (key_text(key), key_text(rule.program))
        raise refused(context, "InvalidProgramId", account=rule.name, sides=sides)
    if rule.record is not None:
        loaded.value = _decode(context, rule.name, rule.record, context.frame.account(key))


def _decode(context: Context, name: str, record: type[Record], account: Account) -> Record:
    if account.owner == SYSTEM_PROGRAM and not account.lamports:
        raise refused(context, "AccountNotInitialized", account=name)
    if account.owner != context.frame.program_id:
        sides = (key_text(account.owner), key_text(context.frame.program_id))
        raise refused(context, "AccountOwnedByWrongProgram", account=name, sides=sides)
    if len(account.data) < DISCRIMINATOR_BYTES:
        raise refused(context, "AccountDiscriminatorNotFound", account=name)
    if account.data[:DISCRIMINATOR_BYTES] != record.tag():
        raise refused(context, "AccountDiscriminatorMismatch", account=name)
    try:
        return record.read(account.data)
    except BorshError as error:
        raise refused(context, "AccountDidNotDeserialize", account=name) from error


def _create_all(context: Context) -> None:
    for loaded in context.accounts.values():
        if loaded.rule.payer is None:
            continue
        _check_seeds(context, loaded)
        if loaded.rule.is_created_once and context.frame.account(loaded.meta.key).owner != SYSTEM_PROGRAM:
            _load(context, loaded)
        else:
            _create(context, loaded, context.key(loaded.rule.payer))


def _create(context: Context, loaded: Loaded, payer: bytes) -> None:
    record = loaded.rule.record
    assert record is not None
    frame, key = context.frame, loaded.meta.key
    rent = rent_exempt_lamports(record.ALLOCATED_BYTES)
    held = frame.account(key).lamports
    if not held:
        steps = [builtins.system_create(payer, key, rent, record.ALLOCATED_BYTES, frame.program_id)]
    else:
        steps = [builtins.system_transfer(payer, key, rent - held)] if held < rent else []
        steps.append(builtins.system_allocate(key, record.ALLOCATED_BYTES))
        steps.append(builtins.system_assign(key, frame.program_id))
    for metas, data in steps:
        frame.invoke(SYSTEM_PROGRAM, metas, data, frozenset({key}))
    loaded.value = record()


def _constrain_all(context: Context) -> None:
    for loaded in context.accounts.values():
        rule = loaded.rule
        if rule.payer is None and rule.seeds is not None:
            _check_seeds(context, loaded)
        if rule.is_writable and not loaded.meta.is_writable:
            raise refused(context, "ConstraintMut", account=rule.name)
        for holds, error in rule.checks:
            if not holds(context):
                raise refused(context, error, account=rule.name)


def _check_seeds(context: Context, loaded: Loaded) -> None:
    assert loaded.rule.seeds is not None
    expected, bump = find_address(tuple(loaded.rule.seeds(context)), context.frame.program_id)
    loaded.bump = bump
    if expected != loaded.meta.key:
        sides = (key_text(loaded.meta.key), key_text(expected))
        raise refused(context, "ConstraintSeeds", account=loaded.rule.name, sides=sides)


@lru_cache(maxsize=ADDRESSES_KEPT)
def find_address(seeds: tuple[bytes, ...], program_id: bytes) -> tuple[bytes, int]:
    """The program-derived address of `seeds` and its bump."""
    address, bump = Pubkey.find_program_address(list(seeds), Pubkey(program_id))
    return bytes(address), bump


def _write_back(context: Context) -> None:
    for loaded in context.accounts.values():
        if loaded.value is None or not loaded.rule.is_writable:
            continue
        account = context.frame.account(loaded.meta.key)
        data = loaded.value.write_over(account.data)
        context.frame.write(loaded.meta, Account(account.lamports, account.owner, data, account.executable))
