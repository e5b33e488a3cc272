"""What the doctor's measurements mean: pure judgments, one finding each, with the sentence that says how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from app.config import Settings
from domain.ids import Wallet
from domain.observed import ChainConfig

PREFIX = "zmart_"
OTHERS_MAY = 0o077
CLUSTERS = {
    "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp": "mainnet",
    "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z": "testnet",
    "EtWTRABZaYq6iMfeYKouRu166VU2xqa1": "devnet",
}
"""Public clusters by the first 32 letters of their genesis hash (CAIP-2's names for them)."""


class Verdict(StrEnum):
    """How bad it is. Only an error makes the doctor's exit status 1."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was seen, and, unless all is well, how to mend it. Holds no secret."""

    subject: str
    verdict: Verdict
    seen: str
    mend: str = ""


def ok(subject: str, seen: str) -> Finding:
    """All is well."""
    return Finding(subject, Verdict.OK, seen)


def warning(subject: str, seen: str, mend: str) -> Finding:
    """It works, but not as somebody may expect."""
    return Finding(subject, Verdict.WARNING, seen, mend)


def error(subject: str, seen: str, mend: str) -> Finding:
    """It does not work."""
    return Finding(subject, Verdict.ERROR, seen, mend)


def exit_status(findings: Iterable[Finding]) -> int:
    """1 when anything is wrong, else 0."""
    return 1 if any(finding.verdict is Verdict.ERROR for finding in findings) else 0


# --- configuration ----------------------------------------------------------------------------------------------------


def invalid_settings(failure: ValidationError, sources: Mapping[str, str]) -> list[Finding]:
    """One finding for each invalid setting; `sources` says where each was given, its value stays unsaid."""
    return [
        error(_subject(fault["loc"]), fault["msg"].removeprefix("Value error, "), _where(fault["loc"], sources))
        for fault in failure.errors(include_url=False, include_input=False, include_context=False)
    ]


def _subject(location: Sequence[int | str]) -> str:
    return _variable(str(location[0])) if location else "settings"


def _where(location: Sequence[int | str], sources: Mapping[str, str]) -> str:
    if not location:
        return "Correct these environment variables; docs/configuration.md lists them all."
    source = sources.get(str(location[0]), "the defaults")
    return f"It was given in {source}: correct it there; docs/configuration.md says what it means."


def unknown_settings(sources: Mapping[str, str]) -> list[Finding]:
    """A warning for each `ZMART_*` name that is no setting; `sources` as above, by the name without its prefix."""
    return [
        warning(_variable(name), f"no such setting, given in {source}", _meant(name))
        for name, source in sorted(sources.items())
        if name not in Settings.model_fields
    ]


def _meant(name: str) -> str:
    close = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f"Did you mean {_variable(close[0])}?" if close else "Remove it."


def _variable(name: str) -> str:
    return f"{PREFIX}{name}".upper()


# --- database ---------------------------------------------------------------------------------------------------------


def judge_migrations(where: str, pending: Sequence[str]) -> Finding:
    """Whether the schema is the one this program was written for."""
    if not pending:
        return ok("database", f"{where} answers, and its schema is current")
    listed = f"{pending[0]} to {pending[-1]}" if len(pending) > 1 else pending[0]
    seen = f"{where} lacks {len(pending)} migration(s): {listed}"
    return error("database", seen, "Run `zmart migrate` (`zmart up` does it by itself).")


# --- chain ------------------------------------------------------------------------------------------------------------


def judge_cluster(endpoint: str, slot: int, genesis: str, sign_in_chain: str) -> list[Finding]:
    """Whether the cluster is the one that wallets are told they sign in to."""
    cluster = next((name for prefix, name in CLUSTERS.items() if genesis.startswith(prefix)), None)
    findings = [ok("RPC", f"{endpoint} answers at slot {slot}; genesis {genesis} ({cluster or 'a private cluster'})")]
    if cluster is not None and cluster not in sign_in_chain:
        seen = f"sign-in messages name {sign_in_chain}, the RPC is {cluster}"
        findings.append(warning("sign-in", seen, f"Set ZMART_SIGN_IN_CHAIN={cluster}."))
    return findings


def judge_config(program_id: str, config: ChainConfig) -> Finding:
    """Whether the program takes instructions."""
    if config.is_paused:
        return warning("GlobalConfig", f"program {program_id} is paused", "Its admin has to unpause it.")
    approval, dispute = config.proposal_threshold_bps, config.dispute_threshold_bps
    seen = f"program {program_id} is initialised; approval at {approval} bps, disputes at {dispute} bps"
    return ok("GlobalConfig", seen)


# --- keys -------------------------------------------------------------------------------------------------------------


def judge_mode(subject: str, path: Path, mode: int) -> list[Finding]:
    """A warning when others may read a key file; `mode` as in `st_mode`."""
    if not mode & OTHERS_MAY:
        return []
    return [warning(subject, f"{path} has mode {mode & 0o777:04o}: others may read it", f"Run `chmod 600 {path}`.")]


def judge_key(subject: str, variable: str, ours: Wallet, on_chain: Wallet | None) -> Finding:
    """Whether the chain gives this key the role it is meant for; None when the chain could not be asked."""
    if on_chain is None:
        return warning(subject, f"{ours} could not be compared with GlobalConfig", "Mend the RPC or the program first.")
    if ours != on_chain:
        mend = f"Set {variable} to the key file of {on_chain}, or have the admin change GlobalConfig."
        return error(subject, f"our key is {ours}, GlobalConfig names {on_chain}", mend)
    return ok(subject, f"{ours}, as GlobalConfig has it")


# --- ports ------------------------------------------------------------------------------------------------------------


def judge_ports(wanted: Mapping[str, int], taken: Iterable[str]) -> list[Finding]:
    """An error for each port that somebody else has, or one line for all of them."""
    findings = [
        error(
            "ports",
            f"port {wanted[name]} ({name}) is taken by another program",
            f"Stop it, set ZMART_{name.upper()}_PORT, or move every port with --port-base.",
        )
        for name in taken
    ]
    listed = ", ".join(str(port) for port in wanted.values())
    return findings or [ok("ports", f"free: {listed}")]
