"""Every setting, in one class: environment variables `ZMART_*`, then a `.env` file, then these defaults.

`docs/configuration.md` lists the same settings, and a test compares the two.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from app.schedule import CronSchedule
from app.setting_types import Domains, Networks, Paths, PublicKeys, ServiceKeys, TokenSecrets, Words
from domain.rules import ZeroVotes

NEWEST_PROGRAM_ID = "6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw"
"""The build that the instruction tables describe; the local ledger runs it under this id (CI 1)."""

SECRETS_DIR = "/run/secrets"
SECRETS_VARIABLE = "ZMART_SECRETS_DIR"
"""Another folder of secrets; not a setting, for it says where settings are."""

_GIVEN_IN_PRODUCTION = (
    "database_url",
    "redis_url",
    "solana_rpc_url",
    "backend_keypair",
    "token_key",
    "receipt_key",
    "service_keys",
    "webhook_secrets",
)
_OFFSETS = {
    "envoy": (0, 8080),
    "grpc": (1, 50051),
    "bridge": (2, 3001),
    "metrics": (3, 9464),
    "ledger_rpc": (4, 8899),
    "ledger_pubsub": (5, 8900),
    "envoy_admin": (6, 9901),
    "actor_admin": (7, 1900),
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens."""

    envoy: int
    grpc: int
    bridge: int
    metrics: int
    ledger_rpc: int
    ledger_pubsub: int
    envoy_admin: int
    actor_admin: int


class UnsafeSettings(ValueError):
    """Production was asked for with something that only fits a developer's machine."""


class Settings(BaseSettings):
    """What can be set. Ports are loopback only unless `host` says otherwise."""

    model_config = SettingsConfigDict(env_prefix="ZMART_", env_file=".env", extra="ignore", frozen=True)

    env: Literal["development", "production"] = Field(
        "development", description="`production` refuses embedded parts, generated secrets and an unset program id"
    )
    data_dir: Path = Field(Path(".zmart"), description="State of the embedded parts, generated keys, logs")
    run_id: str = Field("", description="Marks every process of one `zmart up`; set by it")
    host: str = Field("127.0.0.1", description="Address that the servers listen on")
    node_name: str = Field(
        default_factory=lambda: socket.gethostname(),
        min_length=1,
        description="This host's name in the table of virtual shards; two of one name would end each other's shards",
    )

    port_base: int | None = Field(None, description="Moves every port: Envoy N, gRPC N+1, bridge N+2 and so on")
    envoy_port: int | None = Field(None, description="The front door; default 8080")
    grpc_port: int | None = Field(None, description="gRPC; default 50051")
    bridge_port: int | None = Field(None, description="WebSocket bridge; default 3001")
    metrics_port: int | None = Field(None, description="Prometheus metrics; default 9464")
    ledger_rpc_port: int | None = Field(None, description="Local ledger, JSON-RPC; default 8899")
    ledger_pubsub_port: int | None = Field(None, description="Local ledger, PubSub; default 8900")
    envoy_admin_port: int | None = Field(None, description="Envoy's admin interface; default 9901")
    actor_admin_port: int | None = Field(None, description="The actor system's admin; default 1900")

    database_url: str | None = Field(None, description="PostgreSQL; unset: the embedded one")
    redis_url: str | None = Field(None, description="Redis or Valkey; unset: the embedded one")
    solana_rpc_url: str | None = Field(None, description="Solana JSON-RPC; unset: the local ledger")
    solana_rpc_fallbacks: Words = Field(
        (), description="Further Solana JSON-RPC endpoints of the same cluster, best first, comma separated"
    )
    genesis_hash: str | None = Field(
        None, description="The only cluster that is spoken to; unset: that of the first endpoint which answers"
    )
    database_pool: int = Field(8, ge=1, le=64, description="Connections of one server process; each shard has its own")

    program_id: str = Field(NEWEST_PROGRAM_ID, description="The zmart_core program; no default in production")
    idl_file: Path | None = Field(None, description="The operator's own IDL of zmart_core; unset: the one shipped")
    backend_keypair: Path | None = Field(None, description="Solana JSON key file of the backend authority")
    admin_keypair: Path | None = Field(None, description="Solana JSON key file of the admin; optional")
    ledger_build: Literal["new", "old"] = Field(
        "new", description="The build of zmart_core that the local ledger runs; they differ in numbers and one event"
    )
    ledger_sell_mode: Literal["intended", "faithful"] = Field(
        "intended", description="Whether the local ledger pays sales out, or refuses them as the real runtime does"
    )
    slot_ms: int = Field(400, ge=20, le=5000, description="Slot time of the local ledger in milliseconds")

    priority_fee_lamports_max: int = Field(
        50_000, ge=0, description="Most that one transaction pays on top of its signature fee"
    )
    fee_lamports_per_day: int = Field(
        2_000_000_000, ge=5_000, description="Most that all transactions of 24 hours may cost; then nothing is signed"
    )
    breaker_failures: int = Field(
        5,
        ge=1,
        le=100,
        description="Failures in a row after which an RPC endpoint, the database or Redis is left alone",
    )
    breaker_open_s: float | None = Field(
        None, gt=0, le=600, description="How long it is left alone; unset: 60 s, 1 s for the local ledger"
    )
    transition_breaker_failures: int = Field(
        3,
        ge=1,
        le=100,
        description="Outages of the chain in a row, half a minute apart, after which no state transition is signed",
    )
    transition_breaker_open_s: float = Field(
        300.0, gt=0, le=3600, description="How long none is signed, seconds; then one is tried"
    )

    helius_api_key: SecretStr | None = Field(None, description="Helius' key, for `zmart webhook`")
    helius_url: str = Field("https://api.helius.xyz", description="Helius' API")
    helius_network: Literal["mainnet", "devnet"] = Field(
        "mainnet", description="Whose transactions the webhook at Helius posts"
    )
    webhook_url: str | None = Field(
        None, description="Where Helius posts: the public https address of Envoy, with /webhooks/events"
    )
    reconcile_s: int = Field(
        600, ge=10, le=86_400, description="How often the indexer compares the database with the chain, in seconds"
    )

    shards: int = Field(
        default_factory=lambda: min(max(os.cpu_count() or 1, 1), 16), ge=1, le=64, description="Shard processes"
    )
    aggregation_cron: str = Field("*/5 * * * *", description="When changed tallies go on chain, in chain time (UTC)")
    min_proposal_votes: int = Field(10, ge=1, description="Votes below which a proposal is never approved")
    zero_vote_dispute: ZeroVotes = Field(
        ZeroVotes.UPHOLD,
        description="How a dispute ends on which nobody voted: `uphold`, `hold` (an operator decides) or `invalidate`",
    )
    stuck_after_days: int = Field(
        30, ge=1, le=3_650, description="Days without on-chain activity, in chain time, before people hear of a market"
    )

    solana_ws_url: str | None = Field(
        None, description="Solana PubSub for log subscriptions; unset: beside the JSON-RPC, or the local ledger's"
    )
    webhook_secrets: Words = Field(
        (),
        description="Live secrets of the webhook, two while one is replaced, comma separated; unset: one is generated",
    )
    webhook_auth: Literal["either", "authorization", "signature"] = Field(
        "either", description="What a webhook must bring: the secret in `Authorization`, an HMAC of its body, or either"
    )
    index_workers: int = Field(
        2, ge=1, le=16, description="Workers of one indexer on the inbox, and as many on effects"
    )
    index_sweep_s: float = Field(
        10.0, gt=0, le=3600, description="How often the chain is searched for transactions that nobody brought, seconds"
    )
    index_from_slot: int = Field(0, ge=0, description="Where a new database begins to search")

    grpc_reflection: bool = Field(True, description="Server reflection for grpcurl")
    service_keys: ServiceKeys = Field(
        (),
        description="Keys of internal services, or `sha256:` and a key's hash in hex, comma separated;"
        " unset: one is generated",
    )
    token_key: Path | None = Field(None, description="Ed25519 key (PEM) that signs tokens; unset: generated")
    token_algorithm: Literal["EdDSA", "HS256"] = Field(
        "EdDSA", description="What signs new tokens; those of every other live key stay valid"
    )
    former_token_keys: Paths = Field(
        (), description="Ed25519 keys (PEM) that signed tokens before and are still verified, comma separated"
    )
    token_secrets: TokenSecrets = Field(
        (), description="Secrets for HS256, 32 characters or more; the first may sign, all verify; comma separated"
    )
    receipt_key: Path | None = Field(
        None, description="Ed25519 key (PEM) that signs receipts of votes; unset: generated"
    )
    former_receipt_keys: PublicKeys = Field(
        (), description="Public keys (64 hex digits) that signed receipts before, comma separated; exports list them"
    )
    token_issuer: str = Field("zmart", description="`iss` of the tokens")
    token_audience: str = Field("zmart-api", description="`aud` of the tokens")
    sign_in_domain: Domains = Field(
        ("localhost:8080",),
        min_length=1,
        description="Domains that sign-in messages may name, each with its port if any, comma separated; the first is"
        " named unless a page asks for its own",
    )
    sign_in_chain: str = Field("localnet", description="The cluster that sign-in messages name")
    limit_anonymous_per_min: int = Field(
        100, ge=0, description="Calls a minute from one address without a token; 0: no limit, as below"
    )
    limit_wallet_per_min: int = Field(1_000, ge=0, description="Calls a minute of one wallet")
    limit_service_per_min: int = Field(10_000, ge=0, description="Calls a minute of one service key or operator token")
    trusted_proxies: Networks = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Networks of proxies whose `x-forwarded-for` is believed, its last address only, comma separated;"
        " empty: nobody's",
    )
    ws_origins: Words = Field(
        (),
        description="Origins of pages that may call the API and open a WebSocket, comma separated; unset: loopback",
    )
    bridges: int = Field(1, ge=1, le=16, description="WebSocket bridges of `zmart up`, all on one port")
    ws_tick_ms: int = Field(
        10, ge=0, le=1_000, description="How long messages gather after a fan-out before the next one, milliseconds"
    )
    ws_backlog_bytes: int = Field(
        262_144, ge=4_096, description="Bytes that may wait for one client; with more it is closed with 4101"
    )
    ws_backlog_s: float = Field(10.0, gt=0, description="Seconds that a client may be behind; then 4101")
    limit_ws_connections: int = Field(20_000, ge=1, description="WebSocket connections of one bridge")
    limit_ws_per_address: int = Field(
        50, ge=1, description="Of these from one address; direct ones from loopback do not count"
    )
    limit_ws_per_wallet: int = Field(10, ge=1, description="Of these by one wallet")
    limit_ws_accepts_per_s: int = Field(
        500, ge=1, description="Handshakes a second of one bridge; more are answered 503"
    )
    limit_ws_channels: int = Field(100, ge=1, description="Channels of one WebSocket connection")
    limit_ws_messages_per_s: int = Field(
        20, ge=1, description="Messages a second that a WebSocket client may send, twice as many at once"
    )
    limit_ws_frame_bytes: int = Field(4_096, ge=256, description="Bytes of a frame that a WebSocket client may send")
    alert_rules: Path | None = Field(
        None, description="Rules file (TOML) that says who hears of which alert; unset: alerts are stored and logged"
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^http://[A-Za-z0-9.-]+(:[0-9]{1,5})?$",
        description="Where traces are sent (OTLP over HTTP, `http://host:4318`), unset: nothing is traced",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")

    @classmethod
    def settings_customise_sources(  # pydantic's name and signature
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # ours looks elsewhere
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was given, the environment, `.env`, and files of containers' secrets, each named as its variable."""
        folder = Path(os.environ.get(SECRETS_VARIABLE, SECRETS_DIR))
        given = (init_settings, env_settings, dotenv_settings)
        return (*given, SecretsSettingsSource(settings_cls, folder)) if folder.is_dir() else given

    @field_validator("aggregation_cron")
    @classmethod
    def _check_cron(cls, expression: str) -> str:
        CronSchedule(expression)
        return expression

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.token_algorithm == "HS256" and not self.token_secrets:  # noqa: S105 - a name
            raise ValueError("HS256 needs ZMART_TOKEN_SECRETS")
        if self.env == "production":
            self._refuse_developer_defaults()
        return self

    def _refuse_developer_defaults(self) -> None:
        missing = [name for name in _GIVEN_IN_PRODUCTION if not getattr(self, name)]
        if "program_id" not in self.model_fields_set:
            missing.append("program_id")
        if missing:
            names = ", ".join(f"ZMART_{name.upper()}" for name in missing)
            raise UnsafeSettings(f"production needs {names}")

    @property
    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """Whose `x-forwarded-for` is believed."""
        return [ip_network(network) for network in self.trusted_proxies]

    @property
    def ports(self) -> Ports:
        """Every port: its own setting, else its place after `port_base`, else its default."""
        return Ports(**{name: self._port(name, *place) for name, place in _OFFSETS.items()})

    def _port(self, name: str, offset: int, default: int) -> int:
        own: int | None = getattr(self, f"{name}_port")
        if own is not None:
            return own
        return default if self.port_base is None else self.port_base + offset

    @property
    def rpc_url(self) -> str:
        """Where Solana is spoken to."""
        return self.solana_rpc_url or f"http://{self.host}:{self.ports.ledger_rpc}"

    @property
    def rpc_urls(self) -> tuple[str, ...]:
        """Every endpoint of Solana, best first."""
        return (self.rpc_url, *self.solana_rpc_fallbacks)

    @property
    def ws_url(self) -> str:
        """Where Solana's log subscriptions are: configured, the local ledger's, or beside the JSON-RPC."""
        if self.solana_ws_url is not None:
            return self.solana_ws_url
        if self.solana_rpc_url is None:
            return f"ws://{self.host}:{self.ports.ledger_pubsub}"
        return "ws" + self.solana_rpc_url.removeprefix("http")

    @property
    def rpc_breaker_s(self) -> float:
        """How long a failing endpoint is left alone; our own ledger is back in a moment."""
        if self.breaker_open_s is not None:
            return self.breaker_open_s
        return 60.0 if self.solana_rpc_url else 1.0

    @property
    def dependency_breaker_s(self) -> float:
        """How long a failing database or Redis is left alone; a developer's is back in a moment."""
        if self.breaker_open_s is not None:
            return self.breaker_open_s
        return 60.0 if self.env == "production" else 1.0

    @property
    def backend_key_path(self) -> Path:
        """The backend authority's key: configured, or the local ledger's."""
        return self.backend_keypair or self.data_dir / "ledger" / "keys" / "backend.json"

    @property
    def admin_key_path(self) -> Path | None:
        """The admin's key: configured, the local ledger's, or none with a foreign RPC."""
        if self.admin_keypair is not None:
            return self.admin_keypair
        return None if self.solana_rpc_url else self.data_dir / "ledger" / "keys" / "admin.json"
