"""`zmart webhook`: the registration at Helius, for operators of a public deployment."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli_options import DATA_DIR, settings_from
from app.config import Settings

if TYPE_CHECKING:
    from app.helius import Helius, Registration


@click.group()
def webhook() -> None:
    """Register, check or delete the webhook at Helius that posts the program's transactions to ZMART_WEBHOOK_URL."""


@webhook.command()
@DATA_DIR
def register(data_dir: Path | None) -> None:
    """Make sure that exactly one webhook is registered, and as it should be."""
    from app import helius

    async def work(client: helius.Helius, wanted: helius.Registration) -> int:
        done, webhook_id = await helius.register(client, wanted)
        click.echo(f"{done} {webhook_id}: {wanted.kind} transactions of {wanted.program_id} to {wanted.url}")
        return 0

    _run(data_dir, work)


@webhook.command()
@DATA_DIR
def check(data_dir: Path | None) -> None:
    """Say what is wrong with the registration; exit status 1 if anything is."""
    from app import helius

    async def work(client: helius.Helius, wanted: helius.Registration) -> int:
        faults = await helius.faults(client, wanted)
        for fault in faults:
            click.echo(fault)
        click.echo("mend it with `zmart webhook register`" if faults else "registered as it should be")
        return 1 if faults else 0

    _run(data_dir, work)


@webhook.command()
@DATA_DIR
def delete(data_dir: Path | None) -> None:
    """Delete every webhook that posts to our URL."""
    from app import helius

    async def work(client: helius.Helius, wanted: helius.Registration) -> int:
        ids = await helius.delete(client, wanted.url)
        click.echo("\n".join(f"deleted {webhook_id}" for webhook_id in ids) or "nothing to delete")
        return 0

    _run(data_dir, work)


def _run(data_dir: Path | None, work: Callable[[Helius, Registration], Awaitable[int]]) -> None:
    """Do it with what the settings say; missing settings and Helius' refusals end the command with words."""
    import aiohttp

    from app.helius import Helius, HeliusUnavailable

    settings = settings_from(data_dir)
    api_key, wanted = _wanted(settings)

    async def run() -> int:
        async with aiohttp.ClientSession() as http:
            return await work(Helius(http, settings.helius_url, api_key), wanted)

    try:
        sys.exit(asyncio.run(run()))
    except HeliusUnavailable as error:
        raise click.ClickException(str(error)) from error


def _wanted(settings: Settings) -> tuple[str, Registration]:
    from app.helius import RAW, Registration
    from app.identities import webhook_secrets

    if not settings.helius_api_key or not settings.webhook_url:
        raise click.ClickException("set ZMART_HELIUS_API_KEY and ZMART_WEBHOOK_URL, the public https address of Envoy")
    wanted = Registration(
        url=settings.webhook_url,
        program_id=settings.program_id,
        kind=RAW[settings.helius_network],
        secret=webhook_secrets(settings)[0],
    )
    return settings.helius_api_key.get_secret_value(), wanted
