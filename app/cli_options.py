"""What several commands take: their options, and the settings that come of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from app.config import Settings, UnsafeSettings

DATA_DIR = click.option("--data-dir", type=click.Path(path_type=Path), help="Where state lives (default .zmart).")
PORT_BASE = click.option("--port-base", type=click.IntRange(1024, 65528), help="Moves every port.")
TARGET = click.option("--target", help="The gRPC server, host:port (default: the running system's).")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


def settings_from(data_dir: Path | None = None, port_base: int | None = None, **changes: Any) -> Settings:
    """The settings of the environment, changed by command line options; an invalid one ends the command with words."""
    try:
        return Settings(**options_given(data_dir, port_base, **changes))
    except (ValueError, UnsafeSettings) as error:
        raise click.ClickException(str(error)) from error


def options_given(data_dir: Path | None = None, port_base: int | None = None, **others: Any) -> dict[str, Any]:
    """The options that were given, by the name of their setting."""
    given = {"data_dir": data_dir, "port_base": port_base, **others}
    return {name: value for name, value in given.items() if value is not None}
