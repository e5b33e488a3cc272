"""The command line `zmart`. Imports are late: each command pays for its own parts only."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from app.bench import BENCHES, run
from app.cli_actors import actors, shards, tail, transactions
from app.cli_alerts import alerts
from app.cli_backfill import backfill
from app.cli_connections import connections, kick
from app.cli_index import index
from app.cli_markets import markets
from app.cli_options import DATA_DIR, PORT_BASE, options_given, settings_from
from app.cli_token import token
from app.cli_votes import votes
from app.cli_webhook import webhook


@click.group()
@click.version_option(package_name="zmart-backend")
def main() -> None:
    """The backend of a Solana prediction market."""


@main.command()
@DATA_DIR
@PORT_BASE
def up(data_dir: Path | None, port_base: int | None) -> None:
    """Run the whole system on this machine, with embedded parts for all that is not configured."""
    from app.up import run

    sys.exit(run(settings_from(data_dir, port_base)))


@main.command()
@click.option("--keep", is_flag=True, help="Leave the temporary data dir behind.")
def demo(keep: bool) -> None:
    """Live through a market's life on a fresh system, through public doors only, and say what was verified."""
    from app.demo import run

    sys.exit(run(keep=keep))


@main.command()
@click.argument("role", type=click.Choice(["actors", "grpc", "bridge", "notifier", "indexer", "alerts", "envoy"]))
@DATA_DIR
@PORT_BASE
def serve(role: str, data_dir: Path | None, port_base: int | None) -> None:
    """Run one role in this process."""
    from app.roles import serve_role

    serve_role(role, settings_from(data_dir, port_base))


@main.command()
@click.argument("role", type=click.Choice(["actors", "grpc", "bridge", "indexer", "metrics", "envoy", "ledger"]))
@DATA_DIR
@PORT_BASE
def probe(role: str, data_dir: Path | None, port_base: int | None) -> None:
    """Exit with 0 if a role of this machine is ready, else with 1; for the health checks of containers."""
    from app.readiness import Probes
    from app.runner import NotReady

    settings = settings_from(data_dir, port_base)
    try:
        getattr(Probes(settings, settings.data_dir.absolute()), role)()
    except (NotReady, OSError) as failure:
        raise click.ClickException(f"{role}: {failure}") from failure


@main.command()
@DATA_DIR
@PORT_BASE
def ledger(data_dir: Path | None, port_base: int | None) -> None:
    """Run the local ledger alone: an emulator of the program and the RPC, not a validator."""
    from app.roles import serve_role

    serve_role("ledger", settings_from(data_dir, port_base))


@main.command()
@DATA_DIR
def migrate(data_dir: Path | None) -> None:
    """Apply schema migrations to ZMART_DATABASE_URL."""
    from app.wiring import SettingMissing, database_url
    from storage.migrate import migrate as apply

    try:
        applied = asyncio.run(apply(database_url(settings_from(data_dir))))
    except SettingMissing as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


@main.command()
@DATA_DIR
@PORT_BASE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def doctor(data_dir: Path | None, port_base: int | None, as_json: bool) -> None:
    """Check configuration, database, redis, RPC, program id, GlobalConfig and keys; say how to mend what is wrong."""
    from app.doctor import run_with

    sys.exit(run_with(options_given(data_dir, port_base), as_json))


@main.command()
@click.argument("name", type=click.Choice(BENCHES))
@click.option("--seconds", type=float, help="How long each run takes.")
@click.option("--rounds", type=int, help="How often ours and the baseline take turns.")
@click.option("--connections", type=int, help="Requests, or messages of votes, open at once.")
@click.option("--markets", type=int, multiple=True, help="Markets of a case; give it again for another case.")
@click.option("--wallets", type=int, help="Voters of a case.")
def bench(name: str, **shape: Any) -> None:
    """Measure one promise against a baseline of the same run; prints one JSON object.

    What is not given is as the benchmark's promise has it.
    """

    click.echo(run(name, **shape))


main.add_command(actors)
main.add_command(shards)
main.add_command(tail)
main.add_command(transactions)
main.add_command(alerts)
main.add_command(connections)
main.add_command(kick)
main.add_command(markets)
main.add_command(token)
main.add_command(votes)
main.add_command(index)
index.add_command(backfill)
main.add_command(webhook)
