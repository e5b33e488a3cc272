"""The ledger with anchorpy's own Program client, and with slots that pass by themselves."""

import pytest
from anchorpy.program.context import Context
from anchorpy.program.core import Program
from anchorpy.provider import Provider, Wallet
from solana.rpc.commitment import Confirmed
from solana.rpc.types import TxOpts

from chain.idl import zmart_idl
from tests.support.eventually import eventually_async
from tests.support.ledger import B_PARAMETER, LIQUIDITY, Chain, market_id

pytestmark = pytest.mark.filterwarnings("ignore:The `repr_ns` argument is deprecated:DeprecationWarning")


async def test_anchorpys_program_creates_votes_approves_and_decodes(live_chain: Chain) -> None:
    chain, admin, backend = live_chain, live_chain.keys.admin.pair, live_chain.keys.backend.pair
    options = TxOpts(preflight_commitment=Confirmed)
    provider = Provider(chain.client, Wallet(admin), options)
    program = Program(zmart_idl(), chain.program.program_id, provider)
    market, config = chain.program.market_address(market_id())[0], chain.program.config_address()[0]
    system = (await chain.client.get_account_info(market)).value
    assert system is None

    created = await program.rpc["create_market"](
        [1] * 32,
        B_PARAMETER,
        LIQUIDITY,
        [0] * 46,
        ctx=Context(
            accounts={
                "creator": admin.pubkey(),
                "market": market,
                "global_config": config,
                "system_program": chain.program.create_market(chain.keys.admin.wallet, market_id(), 1, 1, b"")
                .accounts[3]
                .pubkey,
            }
        ),
    )
    await chain.client.confirm_transaction(created, Confirmed, sleep_seconds=0.02)
    voted = await program.rpc["aggregate_proposal_votes"](
        7,
        3,
        ctx=Context(
            accounts={"market": market, "global_config": config, "backend_authority": backend.pubkey()},
            signers=[backend],
        ),
    )
    await chain.client.confirm_transaction(voted, Confirmed, sleep_seconds=0.02)
    approved = await program.rpc["approve_proposal"](
        ctx=Context(accounts={"admin": admin.pubkey(), "market": market, "global_config": config})
    )
    await chain.client.confirm_transaction(approved, Confirmed, sleep_seconds=0.02)

    account = await program.account["MarketAccount"].fetch(market)
    assert (bytes(account.market_id), account.creator) == (bytes([1]) * 32, admin.pubkey())
    assert (account.proposal_likes, account.proposal_dislikes, account.proposal_total_votes) == (7, 3, 10)
    assert type(account.state).__name__ == "Approved"
    settings = await program.account["GlobalConfig"].fetch(config)
    assert (settings.backend_authority, settings.proposal_approval_threshold) == (backend.pubkey(), 7000)


async def test_slots_pass_by_themselves_and_carry_a_transaction_to_finality(live_chain: Chain) -> None:
    signature = (await live_chain.client.request_airdrop(live_chain.keys.admin.pair.pubkey(), 1)).value

    async def is_final() -> bool:
        status = (await live_chain.status(signature)).value[0]
        return status is not None and status.confirmations is None

    assert await eventually_async(is_final)
