"""Instructions of transactions under whatever a node, or whoever poses as one, could show."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import chain
from chain.calls import Call, read_call
from chain.decoder import decode_event, encode_event
from chain.errors import Build
from chain.odds import SHARES_PER_B
from domain.ids import MarketId, Wallet, base58_decode, base58_encode
from domain.lifecycle import Lifecycle
from domain.observed import ObservedMarket, ObservedPosition
from indexer.arrivals import Arrival, BodyMalformed, is_key, items_of, read_item
from indexer.cut_trades import TradeCall, TradeFound, find_trades
from indexer.deriving import Evidence, derived
from indexer.frames import Frames, frames_of

PROGRAM = base58_encode(b"\7" * 32)
KEYS = [base58_encode(bytes([n]) * 32) for n in range(1, 17)]
AT_S = 1_762_510_000
SHARES = 10**9
_FIRST = 2 * SHARES
"""Shares of each side that a market begins with."""
_TRADES = ("buy_shares", "sell_shares")
_NUMBERS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8}


def calls(data: bytes) -> None:
    """How many accounts, then an instruction's bytes: what is read as a call is written the same way by its IDL."""
    accounts, told = KEYS[: data[0] % 17] if data else [], data[1:]
    call = read_call(told, accounts)
    if call is None:
        return
    idl = _IDL[call.name]
    assert told.startswith(hashlib.sha256(f"global:{call.name}".encode()).digest()[:8] + _written(call, idl))
    assert call.data == told
    assert list(call.accounts.values()) == accounts[: len(idl["accounts"])]
    assert [_snake(account["name"]) for account in idl["accounts"]] == list(call.accounts)


def frames(data: bytes) -> None:
    """A transaction as a node shows it: what ran, each foreign instruction without a word, and what ours tell."""
    for arrival in _arrivals(data):
        found = frames_of(arrival, PROGRAM)
        if found is not None:
            _check(found, arrival)
            _tell(found)


def _arrivals(data: bytes) -> Iterator[Arrival]:
    try:
        items = items_of(data)
    except BodyMalformed:
        return
    for item in items:
        read = read_item(item)
        if isinstance(read, Arrival):
            yield read


def _check(found: Frames, arrival: Arrival) -> None:
    assert arrival.shown is not None
    meta, message = arrival.shown["meta"], arrival.shown["transaction"]["message"]
    inner = [group["instructions"] for group in meta["innerInstructions"]]
    assert len(found.ran) == len(message["instructions"]) + sum(len(group) for group in inner), "none twice, none lost"
    assert found.payer == arrival.keys[0] and set(found.balances) == set(arrival.keys)
    for frame in found.ran:
        assert {frame.program, *frame.accounts} <= set(arrival.keys)
        assert frame.program == PROGRAM or not frame.data, "what another program was told is nobody's call"


def _tell(found: Frames) -> None:
    """Every call of ours to its event: one that can be written, or none."""
    ours = [frame for frame in found.ran if frame.program == PROGRAM]
    read = [call for frame in ours if (call := read_call(frame.data, frame.accounts)) is not None]
    seen = evidence(found, read)
    for build in get_args(Build):
        for ordinal, call in enumerate(read):
            event = derived(call, ordinal, replace(seen, build=build))
            assert event is None or decode_event(encode_event(event)) == event


def evidence(found: Frames, read: Sequence[Call]) -> Evidence:
    """Accounts that show these trades and no others, so that whatever the balances say can be believed."""
    trades = [TradeCall(ordinal, call) for ordinal, call in enumerate(read) if call.name in _TRADES]
    markets = {address: _market(address, trades) for call in read if (address := call.accounts.get("market"))}
    users = {(address, user) for address in markets for call in read if (user := call.accounts.get("user"))}
    positions = {(address, user): _position(address, user, trades) for address, user in users}
    told: dict[int, TradeFound] = {}
    for address, market in markets.items():
        held = {user: position for (of, user), position in positions.items() if of == address}
        told |= find_trades([each for each in trades if _is_of(each, address)], market, held, [], found)
    return Evidence(AT_S, found, markets, positions, told)


def _is_of(trade: TradeCall, address: str) -> bool:
    return trade.call.accounts["market"] == address


def _moved(trades: Iterable[TradeCall], is_yes: bool) -> int:
    """Shares that came to their owners: as many for each purchase, and what each sale says."""
    mine = [each.call for each in trades if each.call.args[0] is is_yes]
    return sum(SHARES if call.name == "buy_shares" else -call.args[1] for call in mine)


def _market(address: str, trades: Sequence[TradeCall]) -> ObservedMarket:
    mine = [each for each in trades if _is_of(each, address)]
    held = {f"shares_{side}": _FIRST + _moved(mine, side == "yes") for side in ("yes", "no")}
    names = {"market_id": MarketId(KEYS[0]), "pda": Wallet(address), "creator": Wallet(KEYS[1]), "slot": 9}
    ended = {"state": Lifecycle.FINALIZED, "proposed_outcome": True, "final_outcome": None, "was_disputed": True}
    rest = {"b_parameter": _FIRST * SHARES_PER_B, "resolver": None, "content_hash": ""}
    nothing: dict[str, Any] = dict.fromkeys(ObservedMarket.__dataclass_fields__, 0)
    return ObservedMarket(**{**nothing, **names, **ended, **rest, **held})


def _position(address: str, user: str, trades: Sequence[TradeCall]) -> ObservedPosition:
    mine = [each for each in trades if _is_of(each, address) and each.user == user]
    spent = SHARES * sum(each.is_buy for each in mine)
    held = _moved(mine, True), _moved(mine, False)
    return ObservedPosition(Wallet(address), Wallet(user), 9, *held, spent, len(mine), AT_S, True, SHARES)


def _written(call: Call, idl: Mapping[str, Any]) -> bytes:
    return b"".join(_field(arg, of["type"]) for arg, of in zip(call.args, idl["args"], strict=True))


def _field(value: Any, kind: Any) -> bytes:
    if isinstance(kind, dict) and "option" in kind:
        return b"\0" if value is None else b"\1" + _field(value, kind["option"])
    if isinstance(kind, dict):
        raw = value if isinstance(value, bytes) else base58_decode(value)
        assert len(raw) == kind["array"][1]
        return raw
    if kind == "bool":
        return bytes([value])
    if kind in _NUMBERS:
        return int(value).to_bytes(_NUMBERS[kind], "little", signed=kind == "i64")
    assert is_key(value)
    return base58_decode(value)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _idl() -> Mapping[str, Any]:
    shipped = Path(chain.__file__).with_name("zmart_core.json")
    return {_snake(each["name"]): each for each in json.loads(shipped.read_text())["instructions"]}


_IDL = _idl()
