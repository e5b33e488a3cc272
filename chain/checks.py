"""What must fit before anything is sent: cluster, program, GlobalConfig, keys; each misfit says how to mend it.

It judges and never repairs. What it cannot find out (`ChainUnavailable`) is not its to judge and goes to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chain.client import ChainReader, ConfigMissing
from chain.endpoints import AnotherCluster
from chain.keys import SigningKeys
from chain.program import UndecodableAccount
from domain.observed import ChainConfig


@dataclass(frozen=True, slots=True)
class Misfit:
    """One thing that does not fit: what was looked at, what was seen, how to mend it. Holds no secret."""

    subject: str
    seen: str
    mend: str
    is_fatal: bool = True
    """Whether nothing may be sent; else only a part of the work has to wait."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.seen}. {self.mend}"


async def cluster_misfits(reader: ChainReader, genesis_hash: str | None) -> Sequence[Misfit]:
    """Whether this is the cluster and the program that the settings name; raises `ChainUnavailable`."""
    mend = "Correct ZMART_SOLANA_RPC_URL or ZMART_GENESIS_HASH."
    try:
        found = await reader.genesis_hash()
    except AnotherCluster as refusal:  # the pool compares before it asks anything
        return [Misfit("cluster", refusal.facts.fault, mend)]
    if genesis_hash is not None and found != genesis_hash:
        seen = f"{reader.rpc.endpoint} is of the cluster with genesis {found}, not {genesis_hash}"
        return [Misfit("cluster", seen, mend)]
    program_id = str(reader.program.program_id)
    if not await reader.has_program():
        mend = "Correct ZMART_PROGRAM_ID or ZMART_SOLANA_RPC_URL, or deploy zmart_core there."
        return [Misfit("program", f"{program_id} is no program on this cluster", mend)]
    return []


async def authority_misfits(reader: ChainReader, keys: SigningKeys) -> Sequence[Misfit]:
    """Whether GlobalConfig is there and names our keys; raises `ChainUnavailable`."""
    try:
        config = await reader.config(keys)
    except ConfigMissing as missing:
        mend = "Correct ZMART_PROGRAM_ID, or have the admin send initialize_global_config."
        return [Misfit("GlobalConfig", f"nothing is at {missing.address}", mend)]
    except UndecodableAccount as fault:
        mend = "Correct ZMART_PROGRAM_ID: this is another program's account."
        return [Misfit("GlobalConfig", str(fault), mend)]
    return key_misfits(config, keys)


def key_misfits(config: ChainConfig, keys: SigningKeys) -> Sequence[Misfit]:
    """Which of our keys GlobalConfig does not name; a foreign admin key only leaves approvals to the real admin."""
    found = []
    if not config.may_aggregate:
        seen = f"our key is {keys.backend.wallet}, GlobalConfig names {config.backend_authority}"
        mend = f"Set ZMART_BACKEND_KEYPAIR to the key file of {config.backend_authority}."
        found.append(Misfit("backend key", seen, mend))
    if keys.admin is not None and not config.may_approve:
        seen = f"our key is {keys.admin.wallet}, GlobalConfig names {config.admin}"
        mend = (
            f"Set ZMART_ADMIN_KEYPAIR to the key file of {config.admin}, or unset it: the admin then approves by hand."
        )
        found.append(Misfit("admin key", seen, mend, is_fatal=False))
    return found
