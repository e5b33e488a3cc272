"""JSON-RPC 2.0: single requests, batches, notifications and their errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from chain.ledger import faults
from chain.ledger.node import Node
from chain.ledger.rpc import accounts, blocks, control, history, transactions
from chain.ledger.rpc.faults import INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, RpcError
from chain.ledger.rpc.params import Params

BATCH_MAX = 1_000
"""Requests in one batch; a longer one is refused whole."""
RETRY_AFTER_S = 1
"""What a 429 asks for when nobody says so."""
TOO_MANY_REQUESTS = 429

_log = structlog.get_logger(__name__)

Call = Callable[[str, Params], Any]
"""Runs one method; raises `RpcError`."""

_METHODS: dict[str, Callable[[Node, Params], Any]] = {
    **blocks.METHODS,
    **accounts.METHODS,
    **transactions.METHODS,
    **history.METHODS,
    **control.METHODS,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; with `is_lost` the work was done and the connection breaks before the answer."""

    body: bytes
    status: int = 200
    retry_after_s: int | None = None
    is_lost: bool = False


def answer(node: Node, body: bytes) -> Reply:
    """Answer one HTTP body as its faults allow. Never raises for what a client sends.

    The body is empty when nothing in it wanted an answer. A body that asks for a `zmart_*` method meets no fault:
    what was switched on can be switched off.
    """
    request = _parse(body)
    methods = _methods_of(request)
    if any(name.startswith("zmart_") for name in methods):
        return Reply(_respond(request, _calling(node)))
    limit = node.faults.strike(faults.RATE_LIMIT)
    if limit is not None:
        refusal = _error(None, RpcError(TOO_MANY_REQUESTS, "Too many requests for a specific RPC call"))
        return Reply(_encode(refusal), status=429, retry_after_s=limit.seconds or RETRY_AFTER_S)
    replied = _respond(request, _calling(node))
    is_lost = "sendTransaction" in methods and node.faults.strike(faults.LOSE_ANSWER) is not None
    return Reply(replied, is_lost=is_lost)


def respond(body: bytes | str, call: Call) -> bytes:
    """Answer one body with `call` for its methods; empty bytes when nothing in it wanted an answer."""
    return _respond(_parse(body), call)


class _Malformed:
    """What a body that is no JSON was read as."""


def _parse(body: bytes | str) -> Any:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return _Malformed()


def _methods_of(request: Any) -> list[str]:
    items = request if isinstance(request, list) else [request]
    names = [item.get("method") for item in items if isinstance(item, dict)]
    return [name for name in names if isinstance(name, str)]


def _respond(request: Any, call: Call) -> bytes:
    if isinstance(request, _Malformed):
        return _encode(_error(None, RpcError(PARSE_ERROR, "Parse error")))
    if not isinstance(request, list):
        reply = _answer_one(request, call)
        return b"" if reply is None else _encode(reply)
    if not request or len(request) > BATCH_MAX:
        return _encode(_error(None, RpcError(INVALID_REQUEST, "Invalid request")))
    replies = [reply for item in request if (reply := _answer_one(item, call)) is not None]
    return _encode(replies) if replies else b""


def _calling(node: Node) -> Call:
    def call(name: str, params: Params) -> Any:
        method = _METHODS.get(name)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found")
        return method(node, params)

    return call


def _answer_one(request: Any, call: Call) -> dict[str, Any] | None:
    if not _is_call(request):
        return _error(None, RpcError(INVALID_REQUEST, "Invalid request"))
    identity = request.get("id")
    try:
        reply = {"jsonrpc": "2.0", "result": _call(request, call), "id": identity}
    except RpcError as error:
        reply = _error(identity, error)
    return reply if "id" in request else None


def _is_call(request: Any) -> bool:
    return (
        isinstance(request, dict)
        and request.get("jsonrpc") == "2.0"
        and isinstance(request.get("method"), str)
        and isinstance(request.get("id"), (str, int, float, type(None)))
    )


def _call(request: dict[str, Any], call: Call) -> Any:
    values = request.get("params")
    if values is None:
        values = []
    if not isinstance(values, list):
        raise RpcError(INVALID_REQUEST, "Invalid request")
    try:
        return call(request["method"], Params(values))
    except RpcError:
        raise
    except Exception as error:  # a bug here answers -32603 and stays visible; the chain goes on
        _log.exception("ledger.method_failed", method=request["method"])
        raise RpcError(INTERNAL_ERROR, "Internal error") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _error(identity: Any, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": error.json, "id": identity}


def _encode(reply: Any) -> bytes:
    return json.dumps(reply, separators=(",", ":")).encode()
