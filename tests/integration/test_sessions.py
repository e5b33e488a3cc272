"""Sessions and revocations on real PostgreSQL, and `zmart token` over it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.config import Settings
from app.identities import refreshes, tokens
from app.sessions import Families, Revocations
from identity import Caller, Denial, Session, Tier
from storage.sessions import OperatorTokens, RefreshFamilies
from tests.support.markets import wallet
from tests.support.storage import PostgresGround

PARALLEL = 8
FAR_S = 4_000_000_000


@pytest.fixture
def families(real_ground: PostgresGround) -> RefreshFamilies:
    return RefreshFamilies(real_ground.database)


async def test_of_one_refresh_token_used_in_parallel_one_turns_and_its_family_ends(
    families: RefreshFamilies, tmp_path: Path
) -> None:
    sessions = refreshes(Settings(data_dir=tmp_path), families)
    first = await sessions.begin(wallet(1))
    answers = await asyncio.gather(*(sessions.refresh(first.refresh) for _ in range(PARALLEL)))
    won = [answer for answer in answers if isinstance(answer, Session)]
    lost = Counter(answer for answer in answers if isinstance(answer, Denial))
    assert len(won) == 1
    assert lost == {Denial.REFRESH_TOKEN_REUSED: 1, Denial.REFRESH_FAMILY_REVOKED: PARALLEL - 2}
    assert await sessions.refresh(won[0].refresh) is Denial.REFRESH_FAMILY_REVOKED


async def test_a_family_that_has_ended_turns_no_more_and_is_cleared_away(families: RefreshFamilies) -> None:
    old = str(uuid.uuid4())
    await families.open(old, wallet(1), b"old", 1)
    assert await families.turn(old, b"old", b"new") == ("expired", wallet(1))
    await families.open(str(uuid.uuid4()), wallet(1), b"one", FAR_S)
    assert await families.turn(old, b"old", b"new") == ("unknown", None)


async def test_all_families_of_a_wallet_can_be_ended_at_once(families: RefreshFamilies) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    for family, whose in zip(ids, (wallet(1), wallet(1), wallet(2)), strict=True):
        await families.open(family, whose, b"one", FAR_S)
    assert await families.end_all(wallet(1)) == 2
    assert [(await Families(families).turn(family, b"one", b"two")) for family in ids] == [
        Denial.REFRESH_FAMILY_REVOKED,
        Denial.REFRESH_FAMILY_REVOKED,
        wallet(2),
    ]


# --- zmart token ------------------------------------------------------------------------------------------------------


class Terminal:
    """An operator's terminal, with the deployment's key and database."""

    def __init__(self, folder: Path, ground: PostgresGround) -> None:
        self.folder = folder
        self._url = ground.database_url
        self.revocations = Revocations(OperatorTokens(ground.database))

    async def run(self, *arguments: str, stdin: str | None = None) -> Result:
        env = {"ZMART_DATABASE_URL": self._url, "ZMART_DATA_DIR": str(self.folder)}
        return await asyncio.to_thread(CliRunner().invoke, main, ["token", *arguments], stdin, env)

    async def objects(self, *arguments: str) -> list[dict[str, Any]]:
        result = await self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.output.splitlines()]

    def caller(self, token: str) -> Caller | Denial:
        return tokens(Settings(data_dir=self.folder)).verify(token)


@pytest.fixture
def terminal(tmp_path: Path, real_ground: PostgresGround) -> Terminal:
    return Terminal(tmp_path, real_ground)


async def test_an_operators_token_is_minted_listed_and_revoked(terminal: Terminal) -> None:
    (minted,) = await terminal.objects("mint", "--label", "alice", "--hours", "2")
    assert terminal.caller(minted["token"]) == Caller(Tier.ADMIN, None, minted["expires_at_s"])
    (listed,) = await terminal.objects("list")
    assert (listed["token_id"], listed["label"], listed["revoked_at"]) == (minted["id"], "alice", None)
    assert minted["token"] not in json.dumps(listed)
    assert not await terminal.revocations.is_revoked(minted["id"])
    assert (await terminal.run("revoke", minted["id"])).exit_code == 0
    assert await terminal.revocations.is_revoked(minted["id"])
    assert (await terminal.objects("list"))[0]["revoked_at"]


async def test_a_token_that_nobody_noted_is_revoked_by_itself_from_standard_input(terminal: Terminal) -> None:
    issued = tokens(Settings(data_dir=terminal.folder)).issue(None, Tier.ADMIN)
    assert (await terminal.run("revoke", "-", stdin=f"{issued.token}\n")).output == f"revoked {issued.token_id}\n"
    assert await terminal.revocations.is_revoked(issued.token_id)


async def test_tokens_that_ended_a_month_ago_are_forgotten(terminal: Terminal, real_ground: PostgresGround) -> None:
    rows = OperatorTokens(real_ground.database)
    await rows.note("old", "", 1)
    await rows.note("ended", "", int(time.time()) - 60)
    await terminal.objects("mint")
    assert {"ended"} < {each["token_id"] for each in await terminal.objects("list")}
    assert "old" not in {each["token_id"] for each in await terminal.objects("list")}


async def test_a_wallets_token_is_minted_for_load_and_not_listed(terminal: Terminal) -> None:
    (minted,) = await terminal.objects("mint", "--wallet", wallet(1))
    assert terminal.caller(minted["token"]) == Caller(Tier.WALLET, wallet(1), minted["expires_at_s"])
    assert await terminal.objects("list") == []
    refused = await terminal.run("revoke", minted["token"])
    assert (refused.exit_code, "only operators' tokens" in refused.output) == (1, True)
    assert (await terminal.run("mint", "--wallet", "nobody")).exit_code == 2


async def test_an_operator_ends_every_session_of_a_wallet(terminal: Terminal, families: RefreshFamilies) -> None:
    sessions = refreshes(Settings(data_dir=terminal.folder), families)
    lost = [await sessions.begin(wallet(1)) for _ in range(2)]
    other = await sessions.begin(wallet(2))
    assert (await terminal.run("sign-out", wallet(1))).output == f"ended 2 sessions of {wallet(1)}\n"
    assert [await sessions.refresh(each.refresh) for each in lost] == [Denial.REFRESH_FAMILY_REVOKED] * 2
    assert isinstance(await sessions.refresh(other.refresh), Session)
    assert (await terminal.run("sign-out", wallet(1))).output == f"ended 0 sessions of {wallet(1)}\n"
    assert (await terminal.run("sign-out", "nobody")).exit_code == 2
