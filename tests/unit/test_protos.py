"""The contract: its twins are fresh, its rules hold, and clients that exist are not broken."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from zmart.v1 import (
    auth_service_pb2,
    event_service_pb2,
    market_pb2,
    market_service_pb2,
    ops_service_pb2,
    vote_service_pb2,
    webhook_service_pb2,
)

REPOSITORY = Path(__file__).parents[2]
FILES: tuple[FileDescriptor, ...] = (
    auth_service_pb2.DESCRIPTOR,
    event_service_pb2.DESCRIPTOR,
    market_service_pb2.DESCRIPTOR,
    ops_service_pb2.DESCRIPTOR,
    vote_service_pb2.DESCRIPTOR,
    webhook_service_pb2.DESCRIPTOR,
)
REST = {
    "AuthService.CreateChallenge": ["POST /api/auth/challenge"],
    "AuthService.SignIn": ["POST /api/auth/sign-in"],
    "AuthService.RefreshToken": ["POST /api/auth/refresh"],
    "VoteService.CastProposalVote": ["POST /api/votes/proposal"],
    "VoteService.CastDisputeVote": ["POST /api/votes/dispute"],
    "VoteService.CastVotes": [],
    "VoteService.StreamVotes": [],
    "VoteService.GetTally": ["GET /api/markets/{market_id}/tally"],
    "VoteService.ListVotes": ["GET /api/markets/{market_id}/votes"],
    "VoteService.GetVoteProof": ["GET /api/markets/{market_id}/votes/proof"],
    "VoteService.ExportVotes": [],
    "MarketService.GetMarket": ["GET /api/markets/{market_id}"],
    "MarketService.ListMarkets": ["GET /api/markets"],
    "MarketService.WatchMarket": ["GET /api/markets/{market_id}/watch"],
    "MarketService.RegisterMarket": ["POST /api/markets"],
    "MarketService.ApproveMarket": ["POST /api/markets/{market_id}/approve"],
    "MarketService.ActivateMarket": ["POST /api/markets/{market_id}/activate"],
    "MarketService.CancelMarket": ["POST /api/markets/{market_id}/cancel"],
    "MarketService.FinalizeMarket": ["POST /api/markets/{market_id}/finalize"],
    "EventService.ListEvents": [
        "GET /api/events",
        "GET /api/events/by-type/{event_type}",
        "GET /api/events/by-date",
        "GET /api/events/{market_id}",
    ],
    "EventService.SearchEvents": ["GET /api/events/search"],
    "WebhookService.ReceiveHeliusEvents": ["POST /webhooks/events"],
    "OpsService.GetHealth": ["GET /health"],
    "OpsService.ListAlerts": ["GET /api/ops/alerts"],
    "OpsService.AcknowledgeAlert": ["POST /api/ops/alerts/{id}/acknowledge"],
    "OpsService.ResolveAlert": ["POST /api/ops/alerts/{id}/resolve"],
    "OpsService.ListDiscrepancies": ["GET /api/ops/discrepancies"],
    "OpsService.RunReconciliation": ["POST /api/ops/reconcile"],
    "OpsService.AggregateNow": ["POST /api/ops/aggregate"],
    "OpsService.ListAggregations": ["GET /api/ops/aggregations"],
    "OpsService.ListShards": ["GET /api/ops/shards"],
    "OpsService.DescribeActor": ["GET /api/ops/actors/{market_id}"],
    "OpsService.ListTransactions": ["GET /api/ops/transactions"],
    "OpsService.ListConnections": ["GET /api/ops/connections"],
    "OpsService.KickConnections": ["POST /api/ops/connections/kick"],
}


def generate(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "protos" / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The contract in a folder of its own, to be spoilt."""
    shutil.copytree(REPOSITORY / "protos", tmp_path / "protos")
    shutil.copy(REPOSITORY / "buf.yaml", tmp_path)
    return tmp_path


def replace_in(copy: Path, file: str, old: str, new: str) -> None:
    path = copy / "protos" / "zmart" / "v1" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_committed_twins_are_what_the_protos_generate_and_pass_the_lint() -> None:
    done = generate(REPOSITORY, "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_changed_proto_without_new_twins_is_found(copy: Path) -> None:
    replace_in(copy, "market.proto", "// The address of the market's account, base58.", "// Another comment.")
    done = generate(copy, "--check")
    assert done.returncode == 1
    assert "market_pb2.pyi: stale" in done.stderr


def test_a_twin_that_lost_its_proto_is_found(copy: Path) -> None:
    (copy / "protos" / "zmart" / "v1" / "gone_pb2.py").write_text("")
    done = generate(copy, "--check")
    assert "gone_pb2.py: has no .proto any more" in done.stderr


def test_a_field_without_a_comment_fails_the_lint(copy: Path) -> None:
    replace_in(copy, "market.proto", "  // The address of the market's account, base58.\n", "")
    done = generate(copy, "--check")
    assert 'Field "pda" should have a non-empty comment' in done.stderr


def test_a_renumbered_field_is_refused_and_nothing_is_written(copy: Path) -> None:
    before = (copy / "protos" / "zmart" / "v1" / "market_pb2.py").read_bytes()
    replace_in(copy, "market.proto", "string pda = 2;", "string pda = 99;")
    for arguments in (["--check"], []):
        done = generate(copy, *arguments)
        assert done.returncode == 1
        assert 'field "2" with name "pda" on message "Market" was deleted' in done.stderr
    assert (copy / "protos" / "zmart" / "v1" / "market_pb2.py").read_bytes() == before


def test_a_new_field_is_generated_and_then_guarded(copy: Path) -> None:
    replace_in(copy, "market.proto", "uint64 version = 23;", "uint64 version = 23;\n  // New.\n  string extra = 50;")
    assert generate(copy).returncode == 0
    assert generate(copy, "--check").returncode == 0
    replace_in(copy, "market.proto", "string extra = 50;", "string extra = 51;")
    assert generate(copy, "--check").returncode == 1


def test_a_break_that_was_accepted_here_still_breaks_the_last_release(copy: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=copy, check=True, capture_output=True, timeout=60)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "release")
    git("tag", "v1")
    replace_in(copy, "market.proto", "string pda = 2;", "string pda = 99;")
    assert generate(copy, "--accept-breaking").returncode == 0
    done = generate(copy, "--check")
    assert done.returncode == 1
    assert 'field "2" with name "pda" on message "Market" was deleted' in done.stderr
    assert "stale" not in done.stderr


def test_every_rpc_has_the_rest_paths_of_the_contract() -> None:
    found = {}
    for file in FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                found[f"{service.name}.{method.name}"] = _paths(method.GetOptions())
    assert found == REST


def _paths(options: object) -> list[str]:
    rule = options.Extensions[annotations_pb2.http]  # type: ignore[attr-defined]
    rules = [rule, *rule.additional_bindings]
    return [f"{kind.upper()} {getattr(one, kind)}" for one in rules if (kind := one.WhichOneof("pattern"))]


def test_get_market_is_flat_and_otherwise_the_market_message() -> None:
    market, response = market_pb2.Market.DESCRIPTOR, market_service_pb2.GetMarketResponse.DESCRIPTOR
    assert _fields(market) == _fields(response)


def _fields(message: object) -> list[tuple[str, int, int]]:
    return [(field.name, field.number, field.type) for field in message.fields]  # type: ignore[attr-defined]


def test_json_has_zeros_strings_for_64_bit_and_nothing_for_unset_times() -> None:
    market = market_pb2.Market(shares_yes=2**64 - 1)
    text = json_format.MessageToJson(
        market, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    shown = json.loads(text)
    assert shown["shares_yes"] == "18446744073709551615"
    assert shown["shares_no"] == "0"
    assert shown["approval_ready"] is False
    assert "created_at" not in shown


def test_from_and_to_are_the_names_of_a_date_range_in_json() -> None:
    request = json_format.ParseDict({"from": "2025-11-07", "to": "2025-11-08"}, event_service_pb2.ListEventsRequest())
    assert (request.from_time, request.to_time) == ("2025-11-07", "2025-11-08")


def test_the_descriptor_set_for_the_proxy_holds_the_services_and_the_error_details() -> None:
    image = FileDescriptorSet.FromString((REPOSITORY / "protos" / "zmart" / "v1" / "descriptors.binpb").read_bytes())
    names = {file.name for file in image.file}
    assert {"zmart/v1/vote_service.proto", "google/rpc/error_details.proto", "google/api/http.proto"} <= names
