"""Signed transactions of four kinds, made as fast as they are sent: create, vote, tally, transfer."""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from chain.keys import LocalKeys
from chain.program import PROPOSAL_VOTE, ZmartProgram, instruction_data

TRANSFER = "transfer"
KINDS = ("create_market", "submit_proposal_vote", "aggregate_proposal_votes", TRANSFER)
SETTLE_SLOTS = 4
"""How old a market must be to be voted on: preflight at `confirmed` knows it by then."""
B_PARAMETER, LIQUIDITY = 100_000_000_000, 100_000_000

_VOTE = instruction_data("submit_proposal_vote", {"vote": True})
_TALLY_TAG = instruction_data("aggregate_proposal_votes", {"final_likes": 0, "final_dislikes": 0})[:8]
_CREATE_TAG = instruction_data(
    "create_market",
    {"market_id": [0] * 32, "b_parameter": 1, "initial_liquidity": 1, "ipfs_question_hash": [0] * 46},
)[:8]


@dataclass
class Mix:
    """An endless mix of the four kinds in equal parts, over the block hash and slot that it was last told."""

    program: ZmartProgram
    keys: LocalKeys
    voters: list[Keypair]
    blockhash: Hash = field(default_factory=Hash.default)
    slot: int = 0
    settle_slots: int = SETTLE_SLOTS
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _unvoted: deque[tuple[int, Pubkey]] = field(default_factory=deque)
    _untallied: deque[tuple[int, Pubkey]] = field(default_factory=deque)

    def body(self, kind: str) -> tuple[str, bytes]:
        """One request, with the kind it is: a transfer where no market is old enough for what was asked for."""
        number = next(self._numbers)
        built = self._build(kind, number)
        if built is None:
            kind, built = TRANSFER, self._transfer(number)
        instruction, signer = built
        message = Message.new_with_blockhash([instruction], signer.pubkey(), self.blockhash)
        raw = base64.b64encode(bytes(VersionedTransaction(message, [signer]))).decode()
        config = {"encoding": "base64", "preflightCommitment": "confirmed"}
        request = {"jsonrpc": "2.0", "id": number, "method": "sendTransaction", "params": [raw, config]}
        return kind, json.dumps(request).encode()

    def _build(self, kind: str, number: int) -> tuple[Instruction, Keypair] | None:
        match kind:
            case "create_market":
                return self._create(number)
            case "submit_proposal_vote":
                return self._vote(number)
            case "aggregate_proposal_votes":
                return self._tally(number)
        return None

    def _create(self, number: int) -> tuple[Instruction, Keypair]:
        market_id = struct.pack(">32s", number.to_bytes(32, "big"))
        market, _ = Pubkey.find_program_address([b"market", market_id], self.program.program_id)
        data = _CREATE_TAG + market_id + struct.pack("<QQ46s", B_PARAMETER, LIQUIDITY, b"Qm" + b"q" * 44)
        admin = self.keys.admin.pair
        accounts = [
            AccountMeta(admin.pubkey(), is_signer=True, is_writable=True),
            AccountMeta(market, is_signer=False, is_writable=True),
            AccountMeta(self.program.config_address()[0], is_signer=False, is_writable=False),
            AccountMeta(SYSTEM_PROGRAM, is_signer=False, is_writable=False),
        ]
        self._unvoted.append((self.slot, market))
        self._untallied.append((self.slot, market))
        return Instruction(self.program.program_id, data, accounts), admin

    def _vote(self, number: int) -> tuple[Instruction, Keypair] | None:
        market = self._settled(self._unvoted)
        if market is None:
            return None
        voter = self.voters[number % len(self.voters)]
        seeds = [b"vote", bytes(market), bytes(voter.pubkey()), bytes([PROPOSAL_VOTE])]
        accounts = [
            AccountMeta(market, is_signer=False, is_writable=False),
            AccountMeta(Pubkey.find_program_address(seeds, self.program.program_id)[0], False, True),
            AccountMeta(voter.pubkey(), is_signer=True, is_writable=True),
            AccountMeta(SYSTEM_PROGRAM, is_signer=False, is_writable=False),
        ]
        return Instruction(self.program.program_id, _VOTE, accounts), voter

    def _tally(self, number: int) -> tuple[Instruction, Keypair] | None:
        market = self._settled(self._untallied)
        if market is None:
            return None
        backend = self.keys.backend.pair
        accounts = [
            AccountMeta(market, is_signer=False, is_writable=True),
            AccountMeta(self.program.config_address()[0], is_signer=False, is_writable=False),
            AccountMeta(backend.pubkey(), is_signer=True, is_writable=False),
        ]
        return Instruction(self.program.program_id, _TALLY_TAG + struct.pack("<II", number % 97, 3), accounts), backend

    def _transfer(self, number: int) -> tuple[Instruction, Keypair]:
        admin, target = self.keys.admin.pair, self.keys.fee_wallet.pair.pubkey()
        return transfer(TransferParams(from_pubkey=admin.pubkey(), to_pubkey=target, lamports=number)), admin

    def _settled(self, markets: deque[tuple[int, Pubkey]]) -> Pubkey | None:
        if not markets or markets[0][0] + self.settle_slots > self.slot:
            return None
        return markets.popleft()[1]
