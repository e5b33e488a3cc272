"""`zmart votes export` as a command, against a real server on loopback."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from grpc_server import BookUnavailable
from tests.support.grpc_parts import Person, Served, market_id_of, observed, served
from tests.support.recount import recount_script
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

MARKET = market_id_of(1)


class Told(NamedTuple):
    status: int | None
    out: bytes
    err: str


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        running.accounts.put(observed(1, Person().wallet))
        for _ in range(3):
            request = pb.CastProposalVoteRequest(market_id=MARKET, vote="like")
            await VoteServiceStub(running.channel).CastProposalVote(request, metadata=running.bearer(Person()))
        yield running


async def command(*arguments: str, folder: Path) -> Told:
    whole = [sys.executable, "-m", "app", "votes", "export", *arguments]
    process = await asyncio.create_subprocess_exec(
        *whole, stdout=PIPE, stderr=PIPE, env={"ZMART_DATA_DIR": str(folder)}
    )
    out, err = await process.communicate()
    return Told(process.returncode, out, err.decode())


async def test_the_file_is_the_export_and_nothing_else_is_left(running: Served, tmp_path: Path) -> None:
    to_file = await command(MARKET, "--output", str(tmp_path / "votes"), "--target", running.target, folder=tmp_path)
    assert (to_file.status, to_file.out, to_file.err) == (0, b"", "3 votes, 0 late, 0 aggregations\n")
    assert [path.name for path in tmp_path.iterdir()] == ["votes"]
    lines = (tmp_path / "votes").read_bytes().splitlines(keepends=True)
    assert recount_script().recounted(lines).faults == []
    to_stdout = await command(MARKET, "--target", running.target, folder=tmp_path)
    assert len(to_stdout.out.splitlines()) == len(lines)


async def test_a_failure_says_why_and_leaves_the_file_of_before(running: Served, tmp_path: Path) -> None:
    (tmp_path / "votes").write_text("of before")
    running.town.logs.outage = BookUnavailable("gone")
    place = ("--output", str(tmp_path / "votes"), "--target", running.target)
    failed = await command(MARKET, *place, folder=tmp_path)
    assert (failed.status, failed.out) == (1, b"")
    assert "the database cannot be read now" in failed.err
    unknown = await command(market_id_of(9), *place, folder=tmp_path)
    assert (unknown.status, "there is no market" in unknown.err) == (1, True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("votes", "of before")]


async def test_without_a_system_or_a_folder_there_is_no_export(running: Served, tmp_path: Path) -> None:
    nowhere = await command(MARKET, folder=tmp_path)
    assert (nowhere.status, "--target" in nowhere.err) == (1, True)
    missing = str(tmp_path / "no" / "votes")
    no_folder = await command(MARKET, "--output", missing, "--target", running.target, folder=tmp_path)
    assert (no_folder.status, missing in no_folder.err) == (1, True)
