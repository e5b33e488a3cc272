"""What `zmart token` does: tokens by this deployment's key, and their rows in the database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict

from app.clock import wall_s
from app.config import Settings
from app.connection import database_of
from app.identities import tokens
from domain.ids import parse_wallet
from identity import ACCESS_TTL_S, OPERATOR_TTL_S, Denial, IssuedToken, Tier
from storage.database import Database, database_pool
from storage.sessions import OperatorToken, OperatorTokens, RefreshFamilies

_HOUR_S = 3_600


class NotAToken(ValueError):
    """What was to be revoked is neither an id nor an operator's token of this deployment."""


def minted(settings: Settings, wallet: str | None, hours: float | None) -> IssuedToken:
    """A token of the admin tier, or of a wallet; raises MalformedId for a wallet that is none."""
    if wallet is None:
        return tokens(settings).issue(None, Tier.ADMIN, _ttl_s(hours, OPERATOR_TTL_S))
    return tokens(settings).issue(parse_wallet(wallet), Tier.WALLET, _ttl_s(hours, ACCESS_TTL_S))


async def noted(settings: Settings, issued: IssuedToken, label: str) -> None:
    """Remember that an operator's token was minted; raises StorageUnavailable, and then nobody should use it."""
    async with _rows(settings) as rows:
        await rows.note(issued.token_id, label, issued.expires_at_s)


async def listed(settings: Settings, limit: int) -> Sequence[OperatorToken]:
    """The newest tokens that were noted or revoked."""
    async with _rows(settings) as rows:
        return await rows.list(limit)


async def revoked(settings: Settings, given: str) -> str:
    """Revoke by id or by the token itself and return the id; raises NotAToken."""
    token_id = _id_of(settings, given)
    async with _rows(settings) as rows:
        await rows.revoke(token_id, int(wall_s()) + OPERATOR_TTL_S)
    return token_id


async def signed_out(settings: Settings, wallet: str) -> int:
    """End every session of a wallet and return how many there were; raises MalformedId for a wallet that is none."""
    address = parse_wallet(wallet)
    async with _database(settings) as database:
        return await RefreshFamilies(database).end_all(address)


def as_object(known: OperatorToken) -> str:
    """A row as one line of JSON."""
    return json.dumps(asdict(known), default=lambda instant: instant.isoformat())


def as_line(known: OperatorToken) -> str:
    """A row for people."""
    state = (
        f"revoked {known.revoked_at:%Y-%m-%d %H:%M}" if known.revoked_at else f"until {known.expires_at:%Y-%m-%d %H:%M}"
    )
    return f"{known.token_id}  {state}  {known.label}"


def _ttl_s(hours: float | None, default_s: int) -> int:
    return default_s if hours is None else int(hours * _HOUR_S)


def _id_of(settings: Settings, given: str) -> str:
    if given.count(".") != 2:
        return given
    caller = tokens(settings).verify(given)
    if isinstance(caller, Denial):
        raise NotAToken(f"this is not a token of this deployment: {caller.name}")
    if caller.tier is not Tier.ADMIN or caller.credential_id is None:
        raise NotAToken("only operators' tokens can be revoked; those of wallets end after 15 minutes")
    return caller.credential_id


@asynccontextmanager
async def _rows(settings: Settings) -> AsyncIterator[OperatorTokens]:
    async with _database(settings) as database:
        yield OperatorTokens(database)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    """The configured database, or that of the system running in the data dir."""
    database = await database_pool(database_of(settings), 1, "zmart-token")
    try:
        yield database
    finally:
        await database.close()
