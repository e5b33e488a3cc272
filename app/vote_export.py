"""Exports of votes on their way from the server to a file, byte for byte as they come."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import click
import grpc

from zmart.v1.vote_service_pb2 import ExportVotesRequest
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub


def exported(channel: grpc.Channel, market: str, file: BinaryIO) -> bytes:
    """Write all lines and return the last one; ends the command with words when the export has no end.

    Raises grpc.RpcError. The next part is asked for when this one is written, so a slow disk slows the server down.
    """
    last = b""
    for part in VoteServiceStub(channel).ExportVotes(ExportVotesRequest(market_id=market)):
        file.write(part.lines)
        last = part.lines.splitlines()[-1]
    if b'"kind":"end"' not in last:
        raise click.ClickException("the export has no end: something between here and the server cut it off")
    return last


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when all of it is on disk; after any failure whatever was there stays."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def standard_output() -> AbstractContextManager[BinaryIO]:
    """Where lines go that nobody named a file for."""
    return nullcontext(sys.stdout.buffer)
