"""JSON-RPC 2.0: single requests, batches, notifications and their errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import structlog

from chain.ledger.node import Node
from chain.ledger.rpc import accounts, blocks, control, transactions
from chain.ledger.rpc.faults import INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, RpcError
from chain.ledger.rpc.params import Params

BATCH_MAX = 1_000
"""Requests in one batch; a longer one is refused whole."""

_log = structlog.get_logger(__name__)

_METHODS: dict[str, Callable[[Node, Params], Any]] = {
    **blocks.METHODS,
    **accounts.METHODS,
    **transactions.METHODS,
    **control.METHODS,
}


def answer(node: Node, body: bytes) -> bytes:
    """Answer one HTTP body; empty bytes when nothing in it wanted an answer. Never raises for what a client sends."""
    try:
        request = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return _encode(_error(None, RpcError(PARSE_ERROR, "Parse error")))
    if not isinstance(request, list):
        reply = _answer_one(node, request)
        return b"" if reply is None else _encode(reply)
    if not request or len(request) > BATCH_MAX:
        return _encode(_error(None, RpcError(INVALID_REQUEST, "Invalid request")))
    replies = [reply for item in request if (reply := _answer_one(node, item)) is not None]
    return _encode(replies) if replies else b""


def _answer_one(node: Node, request: Any) -> dict[str, Any] | None:
    if not _is_call(request):
        return _error(None, RpcError(INVALID_REQUEST, "Invalid request"))
    identity = request.get("id")
    try:
        reply = {"jsonrpc": "2.0", "result": _call(node, request), "id": identity}
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


def _call(node: Node, request: dict[str, Any]) -> Any:
    method = _METHODS.get(request["method"])
    if method is None:
        raise RpcError(METHOD_NOT_FOUND, "Method not found")
    values = request.get("params")
    if values is None:
        values = []
    if not isinstance(values, list):
        raise RpcError(INVALID_REQUEST, "Invalid request")
    try:
        return method(node, Params(values))
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
