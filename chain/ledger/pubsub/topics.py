"""What one can subscribe to, and how the wish is read from a request's parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chain.ledger.accounts import Account
from chain.ledger.rpc.accounts import Display, Predicate, read_filters
from chain.ledger.rpc.faults import invalid_params
from chain.ledger.rpc.params import Config, Params, pubkey, signature

ACCOUNT, PROGRAM, SIGNATURE, LOGS, SLOT, ROOT = "account", "program", "signature", "logs", "slot", "root"

Topic = tuple[str, str | None, bytes | None]
"""(kind, commitment, address or signature); None where the kind has none."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a subscriber wants to hear, and in which form."""

    topic: Topic
    display: Display | None = None
    filters: tuple[Predicate, ...] = ()
    wants_received: bool = False

    def show(self, account: Account) -> dict[str, Any]:
        """The account as this subscriber asked for it; a notification has nobody to refuse an encoding to."""
        assert self.display is not None
        return self.display.show_anyhow(account)


def account_topic(commitment: str, key: bytes) -> Topic:
    """The topic of one account's changes."""
    return ACCOUNT, commitment, key


def _account(params: Params) -> Wish:
    config = params.config(1)
    return Wish(account_topic(config.commitment(), params.pubkey(0)), Display(config))


def _program(params: Params) -> Wish:
    config = params.config(1)
    filters = tuple(read_filters(config.raw("filters")))
    return Wish((PROGRAM, config.commitment(), params.pubkey(0)), Display(config), filters)


def _signature(params: Params) -> Wish:
    config = params.config(1)
    topic = (SIGNATURE, config.commitment(), signature(params.text(0)))
    return Wish(topic, wants_received=config.flag("enableReceivedNotification"))


def _logs(params: Params) -> Wish:
    commitment = params.config(1).commitment()
    wanted = params.values[0] if params.count else None
    if wanted in ("all", "allWithVotes"):
        return Wish((LOGS, commitment, None))
    mentions = Config(wanted).raw("mentions") if isinstance(wanted, dict) else None
    if not isinstance(mentions, list):
        raise invalid_params("Invalid params: expected `all`, `allWithVotes` or mentions.")
    if len(mentions) != 1:
        raise invalid_params("Invalid Request: Only 1 address supported")
    return Wish((LOGS, commitment, pubkey(mentions[0])))


def _slot(_params: Params) -> Wish:
    return Wish((SLOT, None, None))


def _root(_params: Params) -> Wish:
    return Wish((ROOT, None, None))


READERS: dict[str, Callable[[Params], Wish]] = {
    ACCOUNT: _account,
    PROGRAM: _program,
    SIGNATURE: _signature,
    LOGS: _logs,
    SLOT: _slot,
    ROOT: _root,
}
