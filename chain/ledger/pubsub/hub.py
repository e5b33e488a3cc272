"""Who hears what of the chain: subscriptions by topic, notifications as text; no socket, no task.

A notification goes to every subscriber in the call that caused it, so its order is the chain's. What was said of a slot
that is dropped later is not taken back, as on a node; and a ledger that lags for reads does not lag here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chain.ledger.accounts import ABSENT, Account, key_text
from chain.ledger.bank import Block, Receipt
from chain.ledger.node import Node
from chain.ledger.pubsub.topics import LOGS, PROGRAM, READERS, ROOT, SIGNATURE, SLOT, Topic, Wish, account_topic
from chain.ledger.rpc import respond
from chain.ledger.rpc.blocks import API_VERSION
from chain.ledger.rpc.faults import INTERNAL_ERROR, METHOD_NOT_FOUND, RpcError, invalid_params
from chain.ledger.rpc.params import Params

SUBSCRIPTIONS_MAX = 1_000
"""Subscriptions of one connection."""

_NOTIFICATION = '{{"jsonrpc":"2.0","method":"{method}","params":{{"result":{result},"subscription":{number}}}}}'


@dataclass(frozen=True, slots=True)
class Subscription:
    """One client's wish under its number."""

    number: int
    client: Client
    wish: Wish


@dataclass(eq=False, slots=True)
class Client:
    """One connection: `send` takes a text and never waits."""

    send: Callable[[str], None]
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    due: list[Callable[[], None]] = field(default_factory=list)
    """What is to be said once the present request is answered."""


class Hub:
    """Every subscription to one node; a `Watcher` of it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._numbers = itertools.count(1)
        self._topics: dict[Topic, dict[int, Subscription]] = {}
        self._told = {name: node.bank.settled(name).slot for name in ("confirmed", "finalized")}

    @property
    def subscription_count(self) -> int:
        """How many subscriptions there are."""
        return sum(map(len, self._topics.values()))

    def hear(self, client: Client, message: str) -> None:
        """Answer one message of a client, then say what its new subscriptions are owed at once."""
        reply = respond(message, lambda method, params: self._call(client, method, params))
        if reply:
            client.send(reply.decode())
        due, client.due = client.due, []
        for say in due:
            say()

    def forget(self, client: Client) -> None:
        """End a client's subscriptions."""
        for subscription in list(client.subscriptions.values()):
            self._end(subscription)

    def landed(self, receipt: Receipt) -> None:
        """Tell what is processed."""
        if self._topics:
            self._tell_slot([receipt], "processed")

    def ticked(self, block: Block) -> None:
        """Tell what is confirmed and final now, then the slot."""
        for name in ("confirmed", "finalized"):
            newest = self._node.bank.settled(name).slot
            slots, self._told[name] = range(self._told[name] + 1, newest + 1), max(newest, self._told[name])
            for slot in slots if self._topics else ():
                self._tell_slot(self._node.bank.receipts(slot), name)
        root = self._node.bank.settled("finalized").slot
        self._tell((SLOT, None, None), {"parent": block.parent, "root": root, "slot": block.slot})
        self._tell((ROOT, None, None), root)

    def _call(self, client: Client, method: str, params: Params) -> Any:
        if method.endswith("Unsubscribe") and method.removesuffix("Unsubscribe") in READERS:
            return self._unsubscribe(client, params.number(0))
        kind = method.removesuffix("Subscribe")
        if kind == method or kind not in READERS:
            raise RpcError(METHOD_NOT_FOUND, "Method not found")
        if len(client.subscriptions) >= SUBSCRIPTIONS_MAX:
            raise RpcError(INTERNAL_ERROR, f"at most {SUBSCRIPTIONS_MAX} subscriptions on one connection")
        subscription = Subscription(next(self._numbers), client, READERS[kind](params))
        client.subscriptions[subscription.number] = subscription
        self._topics.setdefault(subscription.wish.topic, {})[subscription.number] = subscription
        if kind == SIGNATURE:
            client.due.append(lambda: self._catch_up(subscription))
        return subscription.number

    def _unsubscribe(self, client: Client, number: int) -> bool:
        subscription = client.subscriptions.get(number)
        if subscription is None:
            raise invalid_params("Invalid subscription id.")
        self._end(subscription)
        return True

    def _end(self, subscription: Subscription) -> None:
        del subscription.client.subscriptions[subscription.number]
        others = self._topics[subscription.wish.topic]
        del others[subscription.number]
        if not others:
            del self._topics[subscription.wish.topic]

    def _catch_up(self, subscription: Subscription) -> None:
        """A signature that has long got there is reported at once, or nobody would ever hear of it."""
        _, commitment, signature = subscription.wish.topic
        assert commitment is not None and signature is not None
        landed = self._node.archive.transaction(signature)
        if landed is None or subscription.number not in subscription.client.subscriptions:
            return
        if subscription.wish.wants_received:
            self._say(subscription, _encode(_in_context(landed.slot, "receivedSignature")))
        if landed.slot <= self._node.bank.settled(commitment).slot:
            self._say(subscription, _encode(_in_context(landed.slot, {"err": landed.meta["err"]})))
            self._end(subscription)

    def _tell_slot(self, receipts: Sequence[Receipt], commitment: str) -> None:
        """Tell what these transactions of one slot did; an account that several of them changed is told once."""
        for receipt in receipts:
            self._tell_signature(receipt, commitment)
            self._tell_logs(receipt, commitment)
        for key in dict.fromkeys(key for receipt in receipts for key in receipt.outcome.changes):
            slot = receipts[0].slot
            self._tell_account(key, self._node.bank.account(key, slot), slot, commitment)

    def _tell_signature(self, receipt: Receipt, commitment: str) -> None:
        topic: Topic = (SIGNATURE, commitment, receipt.transaction.signature)
        if commitment == "processed":
            self._tell_received(receipt)
        failure = receipt.outcome.failure
        told = self._tell(topic, _in_context(receipt.slot, {"err": failure.json if failure else None}))
        for subscription in told:
            self._end(subscription)

    def _tell_received(self, receipt: Receipt) -> None:
        for commitment in ("processed", "confirmed", "finalized"):
            waiting = self._topics.get((SIGNATURE, commitment, receipt.transaction.signature), {})
            for subscription in waiting.values():
                if subscription.wish.wants_received:
                    self._say(subscription, _encode(_in_context(receipt.slot, "receivedSignature")))

    def _tell_logs(self, receipt: Receipt, commitment: str) -> None:
        topics = [(LOGS, commitment, None), *((LOGS, commitment, key) for key in receipt.transaction.keys)]
        if not any(topic in self._topics for topic in topics):
            return
        failure = receipt.outcome.failure
        value = {
            "signature": str(receipt.transaction.parsed.signatures[0]),
            "err": failure.json if failure else None,
            "logs": list(receipt.outcome.logs),
        }
        for topic in topics:
            self._tell(topic, _in_context(receipt.slot, value))

    def _tell_account(self, key: bytes, account: Account | None, slot: int, commitment: str) -> None:
        for subscription in self._subscribed(account_topic(commitment, key)):
            shown = subscription.wish.show(account or ABSENT)
            self._say(subscription, _encode(_in_context(slot, shown)))
        if account is None:
            return
        for subscription in self._subscribed((PROGRAM, commitment, account.owner)):
            if all(holds(account) for holds in subscription.wish.filters):
                value = {"pubkey": key_text(key), "account": subscription.wish.show(account)}
                self._say(subscription, _encode(_in_context(slot, value)))

    def _tell(self, topic: Topic, result: Any) -> Sequence[Subscription]:
        told = list(self._subscribed(topic))
        if told:
            text = _encode(result)
            for subscription in told:
                self._say(subscription, text)
        return told

    def _subscribed(self, topic: Topic) -> Iterator[Subscription]:
        return iter(self._topics.get(topic, {}).values())

    def _say(self, subscription: Subscription, result: str) -> None:
        method = f"{subscription.wish.topic[0]}Notification"
        subscription.client.send(_NOTIFICATION.format(method=method, result=result, number=subscription.number))


def _in_context(slot: int, value: Any) -> dict[str, Any]:
    return {"context": {"slot": slot, "apiVersion": API_VERSION}, "value": value}


def _encode(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
