"""How a command of an operator speaks to the gRPC server: where it is, with which token, and what a failure says.

On the machine of a `zmart up` both stand in its connection.json; elsewhere they are given: `--target` and the
environment variable ZMART_OPERATOR_TOKEN.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from app.config import Settings
from app.connection import CONNECTION_FILE, read_connection

TOKEN_VARIABLE = "ZMART_OPERATOR_TOKEN"  # noqa: S105 - a name, not a token
ANSWER_S_MAX = 10.0
PAGE_SIZE = 200


@dataclass(frozen=True, slots=True)
class Door:
    """Where the server is, and the metadata that lets an operator in."""

    target: str
    metadata: tuple[tuple[str, str], ...]


def pages(method: Callable[..., Any], door: Door, wanted: Message, limit: int) -> Iterator[Any]:
    """The answers of a listing RPC, page after page, each asked for when it is looked at; `limit` sizes the pages.

    Take no more than `limit` of what is in them. Raises grpc.RpcError.
    """
    request: Any = type(wanted)()
    request.CopyFrom(wanted)
    request.page_size = min(limit, PAGE_SIZE)
    while True:
        page = method(request, metadata=door.metadata, timeout=ANSWER_S_MAX)
        yield page
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return


def door_of(settings: Settings, target: str | None) -> Door:
    """The running system's door, or the one that was given; ends the command with words when there is none."""
    token = os.environ.get(TOKEN_VARIABLE)
    try:
        connection = read_connection(settings.data_dir)
    except (FileNotFoundError, PermissionError) as absent:
        if target is None or token is None:
            raise click.ClickException(
                f"no {CONNECTION_FILE} to read in {settings.data_dir}: name the data dir of a running system with"
                f" --data-dir, or give --target and {TOKEN_VARIABLE}"
            ) from absent
        connection = {}
    token = token or connection["operator_token"]
    return Door(target or connection["grpc_target"], (("authorization", f"Bearer {token}"),))


@contextmanager
def opened(door: Door) -> Iterator[grpc.Channel]:
    """A channel to the server; a call that fails ends the command with the server's own sentence."""
    with grpc.insecure_channel(door.target) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            raise click.ClickException(sentence(door, error)) from error


def sentence(door: Door, error: grpc.RpcError) -> str:
    """What a failed call says to a person."""
    assert isinstance(error, grpc.Call)
    return f"{door.target}: {error.code().name}: {error.details()}"


def line_of(message: Message) -> str:
    """A message as one line of JSON, as REST would show it."""
    return json.dumps(dict_of(message), ensure_ascii=False)


def dict_of(message: Message) -> dict[str, Any]:
    """A message in JSON values."""
    shown: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return shown
