"""The doctor against a real PostgreSQL, Valkey and ledger: content when all is well, exact about each fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from app.config import Settings
from app.diagnosis import Finding, Verdict, exit_status
from app.doctor import examine
from app.embedded import free_port, free_port_base
from chain.keys import ensure_key, local_key_path
from tests.support.ledger import Chain
from tests.support.system import RunningSystem
from tests.support.valkey import ValkeyServer


@pytest.fixture
def configured(tmp_path: Path, chain: Chain, valkey: ValkeyServer, database_url: str) -> Settings:
    """Settings that name real and healthy parts."""
    keys = tmp_path / "chain"
    return Settings(
        data_dir=tmp_path / "state",
        port_base=free_port_base(8),
        database_url=database_url,
        redis_url=valkey.url,
        solana_rpc_url=chain.ledger.rpc_url,
        program_id=chain.ledger.settings.program_id,
        backend_keypair=local_key_path(keys, "backend"),
        admin_keypair=local_key_path(keys, "admin"),
    )


async def seen_with(settings: Settings, **changes: Any) -> list[Finding]:
    return await examine(settings.model_copy(update=changes))


def wrong(findings: list[Finding]) -> dict[str, Finding]:
    """Whatever is not well, by its subject."""
    return {finding.subject: finding for finding in findings if finding.verdict is not Verdict.OK}


async def test_healthy_parts_are_called_healthy(configured: Settings) -> None:
    findings = await examine(configured)
    assert wrong(findings) == {}
    subjects = {finding.subject for finding in findings}
    assert subjects >= {"database", "redis", "RPC", "GlobalConfig", "backend key", "admin key", "ports"}


async def test_no_password_is_shown(configured: Settings) -> None:
    text = repr(await examine(configured))
    for url in (configured.database_url, configured.redis_url):
        assert url is not None
        password = url.partition("@")[0].rpartition(":")[2]
        assert password
        assert password not in text


async def test_a_wrong_program_id_has_no_global_config(configured: Settings) -> None:
    findings = await seen_with(configured, program_id=str(Keypair().pubkey()))
    assert wrong(findings)["GlobalConfig"].verdict is Verdict.ERROR
    assert "ZMART_PROGRAM_ID" in wrong(findings)["GlobalConfig"].mend
    assert wrong(findings).keys() == {"GlobalConfig", "backend key", "admin key"}, "keys cannot be compared"


async def test_a_program_id_that_is_no_address_is_said_to_be_none(configured: Settings) -> None:
    findings = await seen_with(configured, program_id="zmart")
    assert "no program id" in wrong(findings)["GlobalConfig"].seen
    assert exit_status(findings) == 1


async def test_a_missing_key_file_is_named(configured: Settings, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.json"
    findings = await seen_with(configured, backend_keypair=missing)
    assert wrong(findings).keys() == {"backend key"}
    assert str(missing) in wrong(findings)["backend key"].seen
    assert exit_status(findings) == 1


async def test_a_key_that_is_not_the_backend_authority_is_an_error(configured: Settings, tmp_path: Path) -> None:
    stranger = ensure_key(tmp_path / "stranger.json")
    findings = await seen_with(configured, backend_keypair=tmp_path / "stranger.json")
    assert wrong(findings).keys() == {"backend key"}
    assert stranger.wallet in wrong(findings)["backend key"].seen


async def test_a_key_that_is_not_the_admin_is_an_error(configured: Settings, tmp_path: Path) -> None:
    ensure_key(tmp_path / "stranger.json")
    findings = await seen_with(configured, admin_keypair=tmp_path / "stranger.json")
    assert wrong(findings)["admin key"].verdict is Verdict.ERROR


async def test_a_key_file_that_others_may_read_is_a_warning(configured: Settings) -> None:
    assert configured.backend_keypair is not None
    configured.backend_keypair.chmod(0o644)
    findings = await examine(configured)
    assert "chmod 600" in wrong(findings)["backend key"].mend
    assert exit_status(findings) == 0


async def test_a_foreign_rpc_without_an_admin_key_is_a_warning(configured: Settings) -> None:
    findings = await seen_with(configured, admin_keypair=None)
    assert wrong(findings)["admin key"].verdict is Verdict.WARNING
    assert exit_status(findings) == 0


async def test_an_unreachable_database_is_an_error(configured: Settings) -> None:
    url = f"postgresql://zmart:secret@127.0.0.1:{free_port()}/zmart"
    findings = await seen_with(configured, database_url=url)
    assert wrong(findings).keys() == {"database"}
    assert "ZMART_DATABASE_URL" in wrong(findings)["database"].mend
    assert "secret" not in repr(findings)


async def test_a_database_without_the_schema_is_told_to_migrate(configured: Settings, empty_database_url: str) -> None:
    findings = await seen_with(configured, database_url=empty_database_url)
    assert wrong(findings).keys() == {"database"}
    assert "0001_markets" in wrong(findings)["database"].seen
    assert "zmart migrate" in wrong(findings)["database"].mend


async def test_a_redis_that_died_is_an_error(configured: Settings, valkey: ValkeyServer) -> None:
    await valkey.kill()
    findings = await examine(configured)
    assert wrong(findings).keys() == {"redis"}
    assert exit_status(findings) == 1


async def test_an_rpc_that_does_not_answer_is_an_error(configured: Settings) -> None:
    findings = await seen_with(configured, solana_rpc_url=f"http://127.0.0.1:{free_port()}")
    assert wrong(findings)["RPC"].verdict is Verdict.ERROR
    assert "ZMART_SOLANA_RPC_URL" in wrong(findings)["RPC"].mend


async def test_a_running_system_is_found_by_its_data_dir_and_is_well(system: RunningSystem) -> None:
    findings = await examine(Settings(data_dir=system.data_dir))
    assert wrong(findings) == {}
    assert {finding.subject for finding in findings} >= {"database", "redis", "RPC", "envoy", "grpc", "bridge"}
