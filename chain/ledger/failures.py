"""How a transaction fails, in the JSON shape and the words of a real node.

The words were compared with Solana's own runtime (solders.litesvm); a test keeps the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_INSTRUCTION_WORDS = {
    "InvalidArgument": "invalid program argument",
    "InvalidInstructionData": "invalid instruction data",
    "InvalidAccountData": "invalid account data for instruction",
    "MissingRequiredSignature": "missing required signature for instruction",
    "NotEnoughAccountKeys": "insufficient account keys for instruction",
    "ReadonlyLamportChange": "instruction changed the balance of a read-only account",
    "ReadonlyDataModified": "instruction modified data of a read-only account",
    "ModifiedProgramId": "instruction illegally modified the program id of an account",
    "PrivilegeEscalation": "Cross-program invocation with unauthorized signer or writable account",
    "ComputationalBudgetExceeded": "Computational budget exceeded",
    "ExternalAccountLamportSpend": "instruction spent from the balance of an account it does not own",
    "CallDepth": "Cross-program invocation call depth too deep",
    "ProgramFailedToComplete": "Program failed to complete",
    "UnsupportedProgramId": "Unsupported program id",
}

_TRANSACTION_WORDS = {
    "AccountInUse": "Account in use",
    "AccountLoadedTwice": "Account loaded twice",
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "ProgramAccountNotFound": "Attempt to load a program that does not exist",
    "InsufficientFundsForFee": "Insufficient funds for fee",
    "InvalidAccountForFee": "This account may not be used to pay transaction fees",
    "AlreadyProcessed": "This transaction has already been processed",
    "BlockhashNotFound": "Blockhash not found",
    "SignatureFailure": "Transaction did not pass signature verification",
    "InvalidProgramForExecution": "This program may not be used for executing instructions",
    "AddressLookupTableNotFound": "Transaction loads an address table account that doesn't exist",
}


class InstructionFailure(Exception):
    """One instruction refused: a named runtime error, or a program's own number in `custom`.

    `logged` is the text after `failed: ` in the log where that differs from the error's own words.
    """

    def __init__(self, name: str = "Custom", custom: int | None = None, logged: str | None = None) -> None:
        self.name = name
        self.custom = custom
        self.logged = logged or self.words
        super().__init__(self.words)

    @property
    def words(self) -> str:
        """The error in a sentence, as in a preflight's message."""
        if self.custom is not None:
            return f"custom program error: {self.custom:#x}"
        return _INSTRUCTION_WORDS.get(self.name, self.name)

    @property
    def json(self) -> Any:
        """`"Name"` or `{"Custom": number}`."""
        return self.name if self.custom is None else {"Custom": self.custom}


@dataclass(frozen=True, slots=True)
class TransactionFailure:
    """Why a transaction failed: `json` goes into `err`, `words` into messages."""

    json: Any
    words: str


def failed(name: str) -> TransactionFailure:
    """A failure of the transaction as a whole, such as `BlockhashNotFound`."""
    return TransactionFailure(name, _TRANSACTION_WORDS[name])


def failed_instruction(index: int, failure: InstructionFailure) -> TransactionFailure:
    """Instruction `index` failed and took the transaction with it."""
    words = f"Error processing Instruction {index}: {failure.words}"
    return TransactionFailure({"InstructionError": [index, failure.json]}, words)


def below_rent(index: int) -> TransactionFailure:
    """Account `index` would be left with lamports, but fewer than its rent-exempt minimum."""
    return TransactionFailure(
        {"InsufficientFundsForRent": {"account_index": index}},
        f"Transaction results in an account ({index}) with insufficient funds for rent",
    )


def duplicate_instruction(index: int) -> TransactionFailure:
    """Instruction `index` repeats a compute-budget setting."""
    return TransactionFailure(
        {"DuplicateInstruction": index},
        f"Transaction contains a duplicate instruction ({index}) that is not allowed",
    )
