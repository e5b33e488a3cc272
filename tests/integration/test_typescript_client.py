"""TypeScript clients as npm has them: a market's whole life by @coral-xyz/anchor, and the API's client for browsers."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.errors import idl_json
from chain.program import NEWEST_PROGRAM_ID
from tests.support.ledger import Chain, running_chain
from tests.support.node import Scripts, node_scripts
from tests.support.program import newer_format
from tests.support.web_client import check_web_client

__all__ = ["node_scripts"]


@pytest.fixture
async def quick_chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """Slots of 40 ms: confirmed is soon, and a block hash still lives six seconds."""
    async with running_chain(tmp_path / "chain", slot_ms=40) as running:
        yield running


async def test_anchors_typescript_client_lives_through_a_market(quick_chain: Chain, node_scripts: Scripts) -> None:
    keys = quick_chain.keys
    given = {
        "rpcUrl": quick_chain.ledger.rpc_url,
        "wsUrl": quick_chain.ledger.pubsub_url,
        "idl": newer_format(idl_json(), NEWEST_PROGRAM_ID),
        "keys": {"admin": json.loads(keys.admin.pair.to_json()), "backend": json.loads(keys.backend.pair.to_json())},
    }
    seen = await asyncio.to_thread(node_scripts.run, "lifecycle.js", given)
    assert [event["name"] for event in seen["events"]] == [
        "MarketCreated",
        "ProposalVoteSubmitted",
        "ProposalVoteSubmitted",
        "ProposalAggregated",
        "ProposalApproved",
        "MarketActivated",
        "SharesBought",
        "SharesBought",
        "MarketResolved",
        "MarketFinalized",
        "WinningsClaimed",
    ]
    assert list(dict.fromkeys(seen["states"])) == ["Proposed", "Approved", "Active", "Resolving", "Finalized"]
    bought = [event["data"] for event in seen["events"] if event["name"] == "SharesBought"]
    # CI 10.10, the first two trades of the sequence vector
    assert [(trade["shares"], trade["cost"], trade["new_price_yes"]) for trade in bought] == [
        ("1835823062", "999928380", "504589428"),
        ("916481020", "499942740", "502298338"),
    ]
    assert seen["events"][-1]["data"]["amount"] == "185350052"
    assert seen["finalOutcome"] is True
    assert seen["stake"] == {"yes": "1835823062", "claimed": True, "invested": "999928380"}
    assert seen["votes"] == [False, True]
    assert "custom program error: 0x0" in seen["secondVote"]["message"]
    assert seen["early"] == {"code": "NoVotesRecorded", "number": 6024}
    assert seen["tooEarly"] == {"code": "DisputePeriodNotEnded", "number": 6027}
    assert (seen["heard"], seen["accountSizes"]) == (1, [488])
    many = seen["versioned"]
    assert many == {"version": 0, "fee": 10_050, "transfer": "transfer", "isInBlock": True, "isListed": True}


def test_the_client_generated_for_browsers_fits_strict_typescript(node_scripts: Scripts, tmp_path: Path) -> None:
    check_web_client(node_scripts, tmp_path)


def test_a_field_that_the_contract_does_not_have_is_an_error_to_typescript(
    node_scripts: Scripts, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="'noSuchField' does not exist"):
        check_web_client(node_scripts, tmp_path, "export type Missing = WatchMarketResponse['noSuchField'];\n")
