"""Running one transaction against a view of the accounts: fee, instructions in order, all or nothing.

Pure: the caller hands in the view, the clock and the programs, and gets back what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from chain.ledger import accounts, builtins
from chain.ledger.accounts import Account
from chain.ledger.builtins import Budget
from chain.ledger.failures import InstructionFailure, TransactionFailure, below_rent, failed, failed_instruction
from chain.ledger.transactions import LedgerTransaction
from chain.ledger.workspace import LOG_BYTES_MAX, InnerCall, Log, Meter, Program, Workspace

LAMPORTS_PER_SIGNATURE = 5_000


@dataclass(frozen=True, slots=True)
class Distortion:
    """What a fault does to a transaction's log: its byte limit, and a foreign program that seems to be the caller."""

    log_bytes_max: int = LOG_BYTES_MAX
    foreign: bytes | None = None


UNDISTORTED = Distortion()


@dataclass(frozen=True, slots=True)
class View:
    """The accounts, clock and programs a transaction runs against."""

    read: Callable[[bytes], Account | None]
    programs: Mapping[bytes, Program]
    unix_s: int
    slot: int
    distortion: Distortion = UNDISTORTED


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running a transaction did.

    `is_charged` is False when it failed before it ran: nothing is charged and it never enters a block.
    `changes` holds the fee alone when an instruction failed.
    """

    failure: TransactionFailure | None
    is_charged: bool
    fee: int = 0
    changes: Mapping[bytes, Account] = field(default_factory=dict)
    logs: tuple[str, ...] = ()
    units: int = 0
    inner: tuple[InnerCall, ...] = ()
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


def fee_of(transaction: LedgerTransaction, budget: Budget) -> int:
    """Lamports the first signer pays whether or not the instructions succeed."""
    return LAMPORTS_PER_SIGNATURE * len(transaction.signatures) + budget.priority_fee


def run(transaction: LedgerTransaction, view: View) -> Outcome:
    """Run the whole transaction; never raises for anything a client can send.

    Its accounts are loaded once, before anything runs: it can reach no other, and each is looked at about five times.
    """
    loaded = {key: view.read(key) for key in transaction.keys}
    return _run_loaded(transaction, replace(view, read=loaded.get))


def _run_loaded(transaction: LedgerTransaction, view: View) -> Outcome:
    refusal = _loadable(transaction, view)
    if refusal is not None:
        return Outcome(refusal, is_charged=False)
    budget = builtins.read_budget(transaction.calls)
    if isinstance(budget, TransactionFailure):
        return Outcome(budget, is_charged=False)
    fee = fee_of(transaction, budget)
    payer = view.read(transaction.keys[0])
    refusal = _payable(payer, fee)
    if refusal is not None or payer is None:
        return Outcome(refusal, is_charged=False)
    paid = {transaction.keys[0]: payer.holding(payer.lamports - fee)}
    return _run_paid(transaction, view, budget, fee, paid)


def _loadable(transaction: LedgerTransaction, view: View) -> TransactionFailure | None:
    if transaction.uses_lookup_tables:
        return failed("AddressLookupTableNotFound")
    if len(set(transaction.keys)) != len(transaction.keys):
        return failed("AccountLoadedTwice")
    if view.read(transaction.keys[0]) is None:
        return failed("AccountNotFound")
    for call in transaction.calls:
        if view.read(call.program_id) is None:
            return failed("ProgramAccountNotFound")
        if call.program_id not in view.programs:
            return failed("InvalidProgramForExecution")
    return None


def _payable(payer: Account | None, fee: int) -> TransactionFailure | None:
    if payer is None:
        return failed("AccountNotFound")
    if payer.owner != accounts.SYSTEM_PROGRAM or payer.data:
        return failed("InvalidAccountForFee")
    if payer.lamports < fee:
        return failed("InsufficientFundsForFee")
    rest = payer.lamports - fee
    return below_rent(0) if 0 < rest < accounts.rent_exempt_lamports(0) else None


def _run_paid(
    transaction: LedgerTransaction, view: View, budget: Budget, fee: int, paid: dict[bytes, Account]
) -> Outcome:
    workspace = Workspace(
        read=view.read,
        programs=view.programs,
        builtins=builtins.BUILTINS,
        unix_s=view.unix_s,
        slot=view.slot,
        meter=Meter(budget.units, budget.units),
        changed=dict(paid),
        log=Log(view.distortion.log_bytes_max),
    )
    failure = _run_calls(transaction, workspace, view.distortion.foreign) or _rent_kept(transaction, workspace)
    changes = paid if failure else workspace.changed
    return Outcome(
        failure=failure,
        is_charged=True,
        fee=fee,
        changes=changes,
        logs=tuple(workspace.log.lines),
        units=workspace.meter.used,
        inner=tuple(workspace.inner),
        before=tuple(_lamports(view.read(key)) for key in transaction.keys),
        after=tuple(_lamports(changes[key] if key in changes else view.read(key)) for key in transaction.keys),
    )


def _run_calls(
    transaction: LedgerTransaction, workspace: Workspace, foreign: bytes | None
) -> TransactionFailure | None:
    for index, call in enumerate(transaction.calls):
        workspace.outer_index = index
        try:
            if foreign is None or call.program_id in builtins.NATIVE:
                workspace.run(call.program_id, call.metas, call.data, depth=1)
            else:
                workspace.run_inside(foreign, call.program_id, call.metas, call.data)
        except InstructionFailure as failure:
            return failed_instruction(index, failure)
    return None


def _rent_kept(transaction: LedgerTransaction, workspace: Workspace) -> TransactionFailure | None:
    for index, key in enumerate(transaction.keys):
        account = workspace.changed.get(key)
        if account is not None and 0 < account.lamports < accounts.rent_exempt_lamports(len(account.data)):
            return below_rent(index)
    return None


def _lamports(account: Account | None) -> int:
    return account.lamports if account else 0
