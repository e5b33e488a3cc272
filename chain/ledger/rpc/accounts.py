"""Methods about accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chain.ledger.accounts import Account, key_text, rent_exempt_lamports
from chain.ledger.builtins import ACCOUNT_BYTES_MAX
from chain.ledger.encoding import BASE58_BYTES_MAX, account_json
from chain.ledger.failures import TransactionFailure
from chain.ledger.node import Node
from chain.ledger.rpc.blocks import in_context
from chain.ledger.rpc.faults import INTERNAL_ERROR, INVALID_REQUEST, RpcError, invalid_params
from chain.ledger.rpc.params import Config, Params, packet, pubkey, read_block
from domain.ids import MalformedId, base58_decode, base58_encode

ACCOUNTS_MAX = 100
FILTERS_MAX = 4
ENCODINGS = ("base58", "base64", "jsonParsed")

Predicate = Callable[[Account], bool]


class Display:
    """How a request wants account data shown."""

    def __init__(self, config: Config) -> None:
        self.encoding = config.text("encoding", "binary")
        if self.encoding == "base64+zstd":
            raise invalid_params("base64+zstd is not served by this ledger; ask for base64")
        if self.encoding not in ENCODINGS and self.encoding != "binary":
            raise invalid_params(f"Invalid params: unknown variant `{self.encoding}`.")
        self.window = _window(config.raw("dataSlice"))

    def show(self, account: Account) -> dict[str, Any]:
        """The account as JSON; refuses base58 for more than 128 bytes."""
        size = len(account.data) if self.window is None else min(self.window[1], len(account.data))
        if self.encoding in ("base58", "binary") and size > BASE58_BYTES_MAX:
            raise RpcError(
                INVALID_REQUEST,
                f"Encoded binary (base 58) data should be less than {BASE58_BYTES_MAX} bytes,"
                " please use Base64 encoding.",
            )
        return account_json(account, self.encoding, self.window)

    def show_anyhow(self, account: Account) -> dict[str, Any]:
        """The account as JSON, in base64 where base58 would be refused."""
        try:
            return self.show(account)
        except RpcError:
            return account_json(account, "base64", self.window)


def _window(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    offset, length = (value.get("offset"), value.get("length")) if isinstance(value, dict) else (None, None)
    if type(offset) is not int or type(length) is not int or offset < 0 or length < 0:
        raise invalid_params("Invalid params: dataSlice needs offset and length.")
    return offset, length


def get_balance(node: Node, params: Params) -> dict[str, Any]:
    """Lamports of an address, 0 for one that does not exist."""
    key = params.pubkey(0)
    block = read_block(node, params.config(1))
    account = node.bank.account(key, block.slot)
    return in_context(block, account.lamports if account else 0)


def get_account_info(node: Node, params: Params) -> dict[str, Any]:
    """One account, null when it does not exist."""
    key, config = params.pubkey(0), params.config(1)
    block, display = read_block(node, config), Display(config)
    account = node.bank.account(key, block.slot)
    return in_context(block, None if account is None else display.show(account))


def get_multiple_accounts(node: Node, params: Params) -> dict[str, Any]:
    """Up to 100 accounts, all read at one slot."""
    keys, config = [pubkey(item) for item in params.items(0, ACCOUNTS_MAX)], params.config(1)
    block, display = read_block(node, config), Display(config)
    found = [node.bank.account(key, block.slot) for key in keys]
    return in_context(block, [None if account is None else display.show(account) for account in found])


def get_program_accounts(node: Node, params: Params) -> Any:
    """Every account a program owns that passes all filters."""
    owner, config = params.pubkey(0), params.config(1)
    block, display, wanted = read_block(node, config), Display(config), read_filters(config.raw("filters"))
    found = [
        {"pubkey": key_text(key), "account": display.show(account)}
        for key, account in node.bank.owned_by(owner, block.slot)
        if all(holds(account) for holds in wanted)
    ]
    return in_context(block, found) if config.flag("withContext") else found


def read_filters(value: Any) -> list[Predicate]:
    """The filters of a request; raises -32602 for one that is none, or too many."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid_params("Invalid params: filters must be a sequence.")
    if len(value) > FILTERS_MAX:
        raise invalid_params(f"Too many filters provided; max {FILTERS_MAX}")
    return [_filter(item) for item in value]


def _filter(item: Any) -> Predicate:
    if isinstance(item, dict) and type(item.get("dataSize")) is int:
        size = item["dataSize"]
        return lambda account: len(account.data) == size
    if isinstance(item, dict) and isinstance(item.get("memcmp"), dict):
        return _memcmp(item["memcmp"])
    raise invalid_params("Invalid params: a filter is dataSize or memcmp.")


def _memcmp(spec: dict[str, Any]) -> Predicate:
    offset, text, encoding = spec.get("offset"), spec.get("bytes"), spec.get("encoding") or "base58"
    if type(offset) is not int or offset < 0 or not isinstance(text, (str, list)):
        raise invalid_params("Invalid params: memcmp needs offset and bytes.")
    raw = _bytes_of(text, encoding)
    if len(raw) > BASE58_BYTES_MAX:
        raise invalid_params("Invalid param: encoded binary is too large")
    return lambda account: account.data[offset : offset + len(raw)] == raw


def _bytes_of(text: str | list[Any], encoding: str) -> bytes:
    try:
        if isinstance(text, list):
            return bytes(text)
        return packet(text, "base64") if encoding == "base64" else base58_decode(text)
    except (MalformedId, ValueError, TypeError) as error:
        raise invalid_params("Invalid param: memcmp bytes are malformed") from error


def get_minimum_balance_for_rent_exemption(_node: Node, params: Params) -> int:
    """Lamports an account of this size must hold."""
    size = params.number(0)
    if size > ACCOUNT_BYTES_MAX:
        raise invalid_params(f"Invalid param: data size {size} is above {ACCOUNT_BYTES_MAX}")
    return rent_exempt_lamports(size)


def request_airdrop(node: Node, params: Params) -> str:
    """Lamports from the faucet, by a real transaction whose signature is the answer."""
    receipt = node.airdrop(params.pubkey(0), params.number(1))
    if isinstance(receipt, TransactionFailure):
        raise RpcError(INTERNAL_ERROR, f"airdrop failed: {receipt.words}")
    if receipt.outcome.failure is not None:
        raise invalid_params(f"airdrop failed: {receipt.outcome.failure.words}")
    return base58_encode(receipt.transaction.signature)


METHODS = {
    "getBalance": get_balance,
    "getAccountInfo": get_account_info,
    "getMultipleAccounts": get_multiple_accounts,
    "getProgramAccounts": get_program_accounts,
    "getMinimumBalanceForRentExemption": get_minimum_balance_for_rent_exemption,
    "requestAirdrop": request_airdrop,
}
