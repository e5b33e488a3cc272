"""The call that is being answered: what interceptors found out about it, for the handlers below them."""

from __future__ import annotations

from contextvars import ContextVar

from domain.ids import Wallet
from grpc_server.problems import Rejected, WalletMissing
from identity import ANONYMOUS, Caller

CALLER: ContextVar[Caller] = ContextVar("caller", default=ANONYMOUS)
LIMIT_HEADERS: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("limit_headers", default=())
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")


def caller() -> Caller:
    """Who is calling."""
    return CALLER.get()


def calling_wallet() -> Wallet:
    """The wallet that is calling; rejects callers without one."""
    known = CALLER.get()
    if known.wallet is None:
        raise Rejected(WalletMissing(known.tier))
    return known.wallet
