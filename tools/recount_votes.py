"""Recounts the votes of one market from an export, trusting nobody: `python recount_votes.py export.jsonl [options]`.

Needs Python 3.11 and the package `cryptography` (for ed25519), and nothing of the project that wrote the export.
Checks every line, every leaf, receipt and wallet signature, both Merkle logs, and every published tally and root.
Exit status: 0 all holds, 1 something does not (each fault is printed with its line), 2 there is nothing to check.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

U32_MAX = 2**32 - 1
FAULTS_SHOWN_MAX = 100
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
WORDS = {"proposal": ("like", "dislike"), "dispute": ("support", "reject")}
Object = dict[str, Any]

_HASH, _KEY_ID = '"[0-9a-f]{64}"', '"[0-9a-f]{16}"'
SPELLINGS = {
    "KEY": '"[1-9A-HJ-NP-Za-km-z]{32,44}"',
    "SIGNATURE": '"[1-9A-HJ-NP-Za-km-z]{64,88}"',
    "HASH": _HASH,
    "HASHES": rf"\[(?:{_HASH}(?:,{_HASH})*)?\]",
    "KEY_ID": _KEY_ID,
    "KEYS": rf"\{{{_KEY_ID}:{_HASH}(?:,{_KEY_ID}:{_HASH})*\}}",
    "SEAL": '"[0-9a-f]{128}"',
    "UUID": '"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"',
    "NUMBER": "(?:0|[1-9][0-9]{0,18})",
    "DECIMAL": '"(?:0|[1-9][0-9]{0,38})"',
    "TEXT": r'"(?:[^"\\]|\\.)*"',
    **{word: word for word in ("null", "true", "false")},
}
"""How values are spelled in canonical JSON; no value of a leaf can be spelled so that its line is taken for another."""


def _json_of(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _shape(fields: str) -> dict[str, str]:
    """The keys of an object with the pattern of their values, from `key SPELLING|word, ...`."""
    pairs = [pair.split(" ") for pair in fields.split(", ")]
    return {
        key: "|".join(SPELLINGS.get(word, f'"{re.escape(word)}"') for word in words.split("|")) for key, words in pairs
    }


def _object(shape: Mapping[str, str]) -> str:
    """The pattern of a whole object."""
    return r"\{" + ",".join(f'"{key}":(?:{shape[key]})' for key in sorted(shape)) + r"\}"


RECEIPT = _shape(
    "sequence NUMBER, leaf_hash HASH, batch_index NUMBER, batch_size NUMBER, batch_path HASHES, key_id KEY_ID, "
    "signature SEAL"
)
SPELLINGS["RECEIPT"] = _object(RECEIPT)
LEAF = (
    "market_id KEY, vote_type proposal|dispute, wallet KEY, vote like|dislike|support|reject, weight DECIMAL, "
    "weight_slot DECIMAL|null, source api|chain, transaction_signature SIGNATURE|null, vote_id UUID, "
    "accepted_at_ms NUMBER, market_version NUMBER, wallet_signature SIGNATURE|null"
)
"""In the order of the leaf's lines."""
SHAPES = {
    "header": "format zmart.votes.v1, market_id KEY, pda KEY, program_id KEY, exported_at_ms NUMBER, receipt_keys KEYS",
    "vote": f"{LEAF}, sequence NUMBER|null, standing counted|superseded|late, leaf_hash HASH, receipt RECEIPT|null",
    "aggregation": "aggregation_id UUID, vote_type proposal|dispute, votes_size NUMBER|null, votes_root HASH|null, "
    "yes_votes DECIMAL, no_votes DECIMAL, submitted_yes NUMBER|null, submitted_no NUMBER|null, percentage_bps NUMBER, "
    "threshold_bps NUMBER, threshold_met true|false, status pending|submitted|confirmed|failed|skipped, reason TEXT, "
    "synthetic true|false, transaction_signature SIGNATURE|null",
    "end": "votes NUMBER, late NUMBER, aggregations NUMBER",
}
"""Every kind of line, in the order in which they come."""
LEAF_NAMES = tuple(_shape(LEAF))
LINES = {kind: _shape(f"kind {kind}, {fields}") for kind, fields in SHAPES.items()}
PATTERNS = {kind: re.compile(_object(shape)) for kind, shape in LINES.items()}


def _misfits(value: Object, shape: Mapping[str, str]) -> str:
    """The keys that an object has too many, too few, or with something else than belongs there."""
    strange = value.keys() ^ shape.keys()
    wrong = {key for key in shape.keys() - strange if not re.fullmatch(shape[key], _json_of(value[key]))}
    return ", ".join(sorted(strange | wrong))


def _leaf(data: str) -> bytes:
    return hashlib.sha256(b"\0" + data.encode()).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _root_by_path(index: int, size: int, leaf: bytes, path: Sequence[str]) -> bytes | None:
    """The root that a path leads to (RFC 9162, 2.1.3.2), None when the path is not one of that place."""
    node, last, root = index, size - 1, leaf
    if not 0 <= node <= last:
        return None
    for step in map(bytes.fromhex, path):
        if last == 0:
            return None
        if node & 1 or node == last:
            root = _node(step, root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = _node(root, step)
        node, last = node >> 1, last >> 1
    return root if last == 0 else None


def _base58(text: str) -> bytes:
    value = 0
    for letter in text:
        value = value * 58 + BASE58.index(letter)
    return bytes(len(text) - len(text.lstrip("1"))) + value.to_bytes((value.bit_length() + 7) // 8, "big")


@lru_cache(4096)  # one signature stands for a whole batch of receipts
def _is_signed(public_key: bytes, signature: bytes, message: str) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def _wallet_message(vote: Object, program_id: str) -> str:
    choice = f"Type: {vote['vote_type']}\nVote: {vote['vote']}\nVoter: {vote['wallet']}"
    return f"zmart.dev vote\nVersion: 1\nProgram: {program_id}\nMarket: {vote['market_id']}\n{choice}"


def _key_id(public_key: str) -> str:
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:16]


def _bps(yes: int, no: int) -> int:
    return yes * 10_000 // (yes + no) if yes + no else 0


def _stands_for(sent_yes: int | None, sent_no: int | None, yes: int, no: int, threshold_bps: int) -> bool:
    """Whether the pair that went on chain is the exact one or, where that is too big, a fair scaling of it."""
    if yes + no <= U32_MAX or sent_yes is None or sent_no is None:
        return (sent_yes, sent_no) == (yes, no)
    same_verdict = (_bps(sent_yes, sent_no) >= threshold_bps) == (_bps(yes, no) >= threshold_bps)
    return sent_yes + sent_no == U32_MAX and abs(sent_yes - yes * U32_MAX // (yes + no)) <= 1 and same_verdict


class Log:
    """The votes of one type in order, with their lines, and the root and the tally after each of them."""

    def __init__(self) -> None:
        self.votes: list[tuple[int, Object]] = []
        self.roots = [hashlib.sha256(b"").hexdigest()]
        self.tallies = [(0, 0)]
        self.last: dict[str, Object] = {}
        self._peaks: list[tuple[int, bytes]] = []

    def append(self, line: int, vote: Object, leaf: bytes) -> None:
        """One vote more; the last one of a wallet is the one that counts."""
        sums, before = list(self.tallies[-1]), self.last.get(vote["wallet"])
        for counted, sign in ((vote, 1), (before, -1)) if before else ((vote, 1),):
            sums[WORDS[vote["vote_type"]].index(counted["vote"])] += sign * int(counted["weight"])
        self.tallies.append((sums[0], sums[1]))
        self.votes.append((line, vote))
        self.last[vote["wallet"]] = vote
        height, node = 0, leaf
        while self._peaks and self._peaks[-1][0] == height:
            height, node = height + 1, _node(self._peaks.pop()[1], node)
        self._peaks.append((height, node))
        for _, peak in reversed(self._peaks[:-1]):
            node = _node(peak, node)
        self.roots.append(node.hex())


class Recount:
    """What was read so far, how much of what was checked, and the faults: (line, what is wrong), line 0 for a file."""

    def __init__(self, trusted_keys: Iterable[str] = ()) -> None:
        self.trusted = {_key_id(key): key for key in trusted_keys}
        self.header: Object = {"market_id": "", "program_id": "", "receipt_keys": {}}
        self.logs = {vote_type: Log() for vote_type in WORDS}
        self.late = 0
        self.aggregations: dict[str, Object] = {}
        self.checked: Counter[str] = Counter()
        self.faults: list[tuple[int, str]] = []
        self._stage = ""
        self._place = (-1, 0, "")

    def check(self, what: str, holds: bool, line: int, otherwise: str) -> None:
        """Count one check, and keep the fault if it does not hold."""
        self.checked[what] += 1
        if not holds:
            self.faults.append((line, otherwise))

    def take(self, line: int, raw: bytes) -> None:
        """One line of the export, with its line feed. Only its one spelling will do, so no byte changes unseen."""
        try:
            text = raw.decode()
            value = json.loads(text)
            canonical = isinstance(value, dict) and _json_of(value) + "\n" == text
        except (ValueError, RecursionError):
            canonical = False
        self.check("lines", canonical, line, "not the canonical spelling of a JSON object, one to a line")
        if not canonical:
            return
        kind = str(value.get("kind"))
        if kind not in SHAPES:
            self.faults.append((line, f"unknown kind of line: {kind}"))
        elif not PATTERNS[kind].fullmatch(text[:-1]):
            self.faults.append((line, f"missing, unknown or malformed: {_misfits(value, LINES[kind])}"))
        else:
            self._enter(line, kind)
            getattr(self, f"_{kind}")(line, value)

    def _enter(self, line: int, kind: str) -> None:
        """Hold the order of the kinds; header and end come once."""
        order = ("", *SHAPES)
        step = order.index(kind) - order.index(self._stage)
        if step < 0 or (step == 0 and kind in ("header", "end")) or (self._stage == "" and kind != "header"):
            self.faults.append((line, f"a line of kind {kind} does not belong here"))
        self._stage = kind

    def _header(self, line: int, header: Object) -> None:
        self.header = header
        for key_id, key in header["receipt_keys"].items():
            self.check("receipt keys", _key_id(key) == key_id, line, f"receipt key {key_id} has another id")

    def _vote(self, line: int, vote: Object) -> None:
        fields = ("-" if vote[name] is None else str(vote[name]) for name in LEAF_NAMES)
        leaf = _leaf("\n".join(["zmart.vote.v1", *fields]))
        self.check("leaves", leaf.hex() == vote["leaf_hash"], line, "leaf_hash is not that of the fields")
        at_home = vote["market_id"] == self.header["market_id"] and vote["vote"] in WORDS[vote["vote_type"]]
        weighed = vote["vote_type"] == "dispute" or vote["weight"] == "1"
        if not at_home or not weighed:
            self.faults.append((line, "not a vote of this market, type and weight"))
            return
        if vote["wallet_signature"] is not None:
            message = _wallet_message(vote, self.header["program_id"])
            signed = _is_signed(_base58(vote["wallet"]), _base58(vote["wallet_signature"]), message)
            self.check("wallet signatures", signed, line, "wallet_signature is not this wallet's, of this vote")
        if vote["standing"] == "late":
            self.late += 1
            bare = vote["sequence"] is None and vote["receipt"] is None
            self.check("late votes", bare, line, "a late vote has neither sequence nor receipt")
        else:
            self._log(line, vote, leaf)

    def _log(self, line: int, vote: Object, leaf: bytes) -> None:
        """A vote that was accepted: at its place, with its receipt, and only the chain's follows another."""
        log = self.logs[vote["vote_type"]]
        place = (list(WORDS).index(vote["vote_type"]), vote["market_version"], vote["vote_id"])
        follows, self._place = self._place < place and not self.late, place
        self.check("sequences", follows, line, "not in the order of type, market_version, vote_id, with late ones last")
        expected = len(log.votes) + 1
        self.check("sequences", vote["sequence"] == expected, line, f"sequence is not {expected}")
        if vote["wallet"] in log.last and vote["source"] != "chain":
            self.faults.append((line, "a second vote of a wallet that was not cast on chain"))
        log.append(line, vote, leaf)
        self.check("receipts", vote["receipt"] is not None, line, "the server did not vouch for this vote")
        if vote["receipt"] is not None:
            self.check_receipt(line, vote["receipt"], vote)

    def check_receipt(self, line: int, receipt: Object, vote: Object) -> None:
        """A receipt against the vote that it is for."""
        same = (receipt["sequence"], receipt["leaf_hash"]) == (vote["sequence"], vote["leaf_hash"])
        body = f"zmart.receipt.v1\n{vote['market_id']}\n{vote['vote_type']}\n{vote['sequence']}\n{vote['leaf_hash']}"
        index, size = receipt["batch_index"], receipt["batch_size"]
        root = _root_by_path(index, size, _leaf(body), receipt["batch_path"]) or b""
        message = f"zmart.receipts.v1\n{root.hex()}\n{size}"
        key = (self.trusted or self.header["receipt_keys"]).get(receipt["key_id"], "")
        signed = _is_signed(bytes.fromhex(key), bytes.fromhex(receipt["signature"]), message)
        self.check("signed receipts", same and signed, line, "the receipt is not one for this vote by a receipt key")

    def _aggregation(self, line: int, row: Object) -> None:
        self.check("aggregations", row["aggregation_id"] not in self.aggregations, line, "this aggregation came before")
        self.aggregations[row["aggregation_id"]] = row
        yes, no, log = int(row["yes_votes"]), int(row["no_votes"]), self.logs[row["vote_type"]]
        if row["votes_size"] is None:
            self.checked["no root published"] += 1
        elif row["votes_size"] >= len(log.roots):
            self.faults.append((line, f"votes_size is more than the {len(log.votes)} votes of the log"))
        else:
            root, counted = log.roots[row["votes_size"]], log.tallies[row["votes_size"]]
            self.check("roots", row["votes_root"] == root, line, f"the root of these votes is {root}")
            self.check("tallies", (yes, no) == counted, line, "these votes are {} for and {} against".format(*counted))
        share, bar = _bps(yes, no), row["threshold_bps"]
        self.check("verdicts", row["percentage_bps"] == share, line, f"percentage_bps is not {share}")
        self.check("verdicts", row["threshold_met"] == (yes + no > 0 and share >= bar), line, "threshold_met is wrong")
        sent = (row["submitted_yes"], row["submitted_no"])
        unsent = row["status"] == "skipped" or (row["synthetic"] and yes + no == 0)
        fair = unsent or _stands_for(*sent, yes, no, bar)
        self.check("submitted pairs", fair, line, "the submitted pair does not stand for the exact one")

    def _end(self, line: int, end: Object) -> None:
        votes = sum(len(log.votes) for log in self.logs.values())
        found = {"votes": votes, "late": self.late, "aggregations": len(self.aggregations)}
        self.check("counts", found.items() <= end.items(), line, f"the counts of the lines before are {found}")

    def finish(self, lines: int) -> None:
        """What only the whole export shows."""
        self.check("counts", self._stage == "end", lines, "the export has no end line: a part of it is missing")
        for log in self.logs.values():
            for line, vote in log.votes:
                standing = "counted" if log.last[vote["wallet"]] is vote else "superseded"
                self.check("standings", vote["standing"] == standing, line, f"standing is not {standing}")

    def own_receipt(self, name: str, receipt: Object) -> None:
        """A receipt that a wallet kept: its vote is in the export, at its place."""
        receipt = {"batch_index": 0, "batch_path": [], **receipt}  # which protobuf leaves out of its JSON
        wrong = _misfits(receipt, RECEIPT)
        votes = [vote for log in self.logs.values() for _, vote in log.votes if not wrong]
        mine = [vote for vote in votes if vote["leaf_hash"] == receipt["leaf_hash"]]
        self.check("own receipts", bool(mine), 0, f"{name}: {wrong or 'its leaf'} is not there or not as it should be")
        for vote in mine:
            self.check_receipt(0, receipt, vote)

    def proof(self, name: str, proof: Object) -> None:
        """A proof of inclusion, as GetVoteProof answers it in JSON: its vote and its root are the export's."""
        log = self.logs[proof["entry"]["vote_type"]]
        sequence, size, root = proof["sequence"], proof["tree_size"], proof["root"]
        known = 0 < sequence <= len(log.votes) and log.votes[sequence - 1][1]["leaf_hash"] == proof["leaf_hash"]
        self.check("proofs", known, 0, f"{name}: the export has another vote at sequence {sequence}")
        led = _root_by_path(sequence - 1, size, bytes.fromhex(proof["leaf_hash"]), proof.get("path", []))
        self.check("proofs", led is not None and led.hex() == root, 0, f"{name}: the path does not lead to the root")
        same = size < len(log.roots) and log.roots[size] == root
        self.check("proofs", same, 0, f"{name}: the first {size} votes of the export have another root")
        if proof.get("aggregation_id"):
            row = self.aggregations.get(proof["aggregation_id"], {})
            published = (row.get("votes_size"), row.get("votes_root")) == (size, root)
            self.check("proofs", published, 0, f"{name}: its aggregation was published with another root")


def _snake(value: Any) -> Any:
    """A JSON value with its keys as the contract has them, however the client spelled them."""
    if isinstance(value, dict):
        return {re.sub("[A-Z]", lambda at: f"_{at[0].lower()}", key): _snake(each) for key, each in value.items()}
    return value


def recounted(lines: Iterable[bytes], trusted_keys: Iterable[str] = ()) -> Recount:
    """Everything that an export's lines show."""
    recount, line = Recount(trusted_keys), 0
    for line, raw in enumerate(lines, start=1):
        recount.take(line, raw)
    recount.finish(line)
    return recount


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the files that the command line names, say what was checked and what is wrong; the exit status."""
    parser = argparse.ArgumentParser(description="Recount the votes of an export of `zmart votes export`.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--receipt", type=Path, action="append", default=[], help="a receipt, JSON; may be repeated")
    parser.add_argument("--proof", type=Path, action="append", default=[], help="an answer of GetVoteProof, JSON")
    parser.add_argument("--receipt-key", action="append", default=[], help="the only keys to trust, hex")
    options = parser.parse_args(arguments)
    try:
        with options.export.open("rb") as lines:
            recount = recounted(lines, options.receipt_key)
        for path in options.receipt:
            recount.own_receipt(path.name, _snake(json.loads(path.read_bytes())))
        for path in options.proof:
            recount.proof(path.name, _snake(json.loads(path.read_bytes())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.stderr.write(f"cannot be checked: {error!r}\n")
        return 2
    _tell(recount)
    return 1 if recount.faults else 0


def _tell(recount: Recount) -> None:
    for vote_type, log in recount.logs.items():
        (yes, no), (for_it, against) = log.tallies[-1], WORDS[vote_type]
        sys.stdout.write(f"{vote_type:<20}{len(log.votes):>9} votes, {yes} {for_it}, {no} {against}\n")
    sys.stdout.writelines(f"{what:<20}{count:>9} checked\n" for what, count in recount.checked.items())
    faults = sorted(recount.faults)[:FAULTS_SHOWN_MAX]
    sys.stdout.writelines(f"line {line}: {what}\n" if line else f"{what}\n" for line, what in faults)
    sys.stdout.write(f"{len(recount.faults)} faults\n" if faults else "all of it holds\n")


if __name__ == "__main__":
    sys.exit(main())
