"""`zmart token`: tokens for operators and for load tests: minted with this deployment's key, listed, taken back."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import click

from app.cli_options import AS_JSON, DATA_DIR, settings_from

HOURS_MAX = 30 * 24
LISTED_MAX = 1_000
T = TypeVar("T")


@click.group()
def token() -> None:
    """Mint, list and revoke tokens; end sessions."""


@token.command()
@DATA_DIR
@click.option("--label", default="", help="Whose it is, for the list; at most 100 characters.")
@click.option("--wallet", help="A wallet's own token (wallet tier) instead of an operator's; for tests of load.")
@click.option(
    "--hours", type=click.FloatRange(0.01, HOURS_MAX), help="How long it is valid (30 days; a wallet's 0.25)."
)
@AS_JSON
def mint(data_dir: Path | None, label: str, wallet: str | None, hours: float | None, as_json: bool) -> None:
    """Print a new token; operators' tokens are noted in the database, where they can be listed and revoked."""
    from app.operator_tokens import minted, noted
    from domain.ids import MalformedId

    settings = settings_from(data_dir)
    try:
        issued = minted(settings, wallet, hours)
    except MalformedId as error:
        raise click.BadParameter(str(error), param_hint="--wallet") from error
    if wallet is None:
        _answer(noted(settings, issued, label[:100]))
    shown = {"token": issued.token, "id": issued.token_id, "expires_at_s": issued.expires_at_s}
    click.echo(json.dumps(shown) if as_json else issued.token)


@token.command(name="list")
@DATA_DIR
@click.option("--limit", type=click.IntRange(1, LISTED_MAX), default=50, show_default=True, help="The newest.")
@AS_JSON
def listing(data_dir: Path | None, limit: int, as_json: bool) -> None:
    """List operators' tokens, newest first; the tokens themselves are kept nowhere."""
    from app.operator_tokens import as_line, as_object, listed

    for known in _answer(listed(settings_from(data_dir), limit)):
        click.echo(as_object(known) if as_json else as_line(known))


@token.command()
@DATA_DIR
@click.argument("given", metavar="TOKEN_OR_ID")
def revoke(data_dir: Path | None, given: str) -> None:
    """Refuse an operator's token from now on, by its id or by the token itself, which may be `-` for standard input.

    Also the token in connection.json can be revoked; the next start of `zmart up` writes another.
    """
    from app.operator_tokens import NotAToken, revoked

    given = sys.stdin.read().strip() if given == "-" else given
    try:
        click.echo(f"revoked {_answer(revoked(settings_from(data_dir), given))}")
    except NotAToken as error:
        raise click.ClickException(str(error)) from error


@token.command(name="sign-out")
@DATA_DIR
@click.argument("wallet", metavar="ADDRESS")
def sign_out(data_dir: Path | None, wallet: str) -> None:
    """End every session of a wallet, whose device was lost, say; access tokens that are out end within 15 minutes."""
    from app.operator_tokens import signed_out
    from domain.ids import MalformedId

    try:
        count = _answer(signed_out(settings_from(data_dir), wallet))
    except MalformedId as error:
        raise click.BadParameter(str(error), param_hint="ADDRESS") from error
    click.echo(f"ended {count} session{'' if count == 1 else 's'} of {wallet}")


def _answer(work: Awaitable[T]) -> T:
    from app.wiring import SettingMissing
    from storage.outages import StorageUnavailable

    async def whole() -> T:
        return await work

    try:
        return asyncio.run(whole())
    except (SettingMissing, StorageUnavailable) as error:
        raise click.ClickException(str(error)) from error
