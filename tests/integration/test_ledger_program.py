"""zmart_core on the ledger through unmodified solana-py: what it does, and what it refuses with which words."""

import base64
from collections.abc import Callable

import pytest
from solana.rpc.commitment import Confirmed
from solana.rpc.core import RPCException
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.system_program import TransferParams, transfer

from chain.failures import failure_name
from chain.ledger.zmart.events import event_bytes
from chain.ledger.zmart.records import Market
from chain.program import ZmartProgram, instruction_data
from domain.ids import Wallet, key_bytes
from domain.lifecycle import Lifecycle
from tests.support.ledger import B_PARAMETER, LIQUIDITY, QUESTION, START_UNIX_S, Chain, market_id


def name_of(refused: RPCException) -> str:
    data = refused.args[0].data
    return failure_name(data.err, data.logs or [])


async def logs_of(chain: Chain, signature: Signature) -> list[str]:
    answer = await chain.client.get_transaction(signature, commitment=Confirmed, max_supported_transaction_version=0)
    assert answer.value is not None and answer.value.transaction.meta is not None
    return answer.value.transaction.meta.log_messages or []


def events_in(logs: list[str]) -> list[bytes]:
    return [base64.b64decode(line.removeprefix("Program data: ")) for line in logs if line.startswith("Program data: ")]


async def state_of(chain: Chain, number: int = 1) -> Lifecycle:
    return chain.program.market(market_id(number), await chain.data(market_id(number)), 0).state


async def test_a_market_is_created_voted_and_approved(chain: Chain) -> None:
    market, admin, backend = await chain.create_market(), chain.keys.admin, chain.keys.backend
    fresh = chain.program.market(market, await chain.data(market), 0)
    assert (fresh.state, fresh.shares_yes, fresh.current_liquidity) == (Lifecycle.PROPOSED, 100_000_000, LIQUIDITY)

    aggregated = await chain.land(chain.program.aggregate_proposal_votes(backend.wallet, market, 7, 3), backend.pair)
    assert events_in(await logs_of(chain, aggregated)) == [
        event_bytes("ProposalAggregated", key_bytes(market), 7, 3, 70, True, START_UNIX_S)
    ]
    assert await state_of(chain) is Lifecycle.PROPOSED

    chain.clock.unix_s += 60
    chain.ledger.tick()
    approved = await chain.land(chain.program.approve_proposal(admin.wallet, market), admin.pair)
    assert events_in(await logs_of(chain, approved)) == [
        event_bytes("ProposalApproved", key_bytes(market), bytes(admin.pair.pubkey()), START_UNIX_S + 60)
    ]
    seen = chain.program.market(market, await chain.data(market), 0)
    assert (seen.state, seen.approved_at_s) == (Lifecycle.APPROVED, START_UNIX_S + 60)
    assert (seen.proposal_likes, seen.proposal_dislikes) == (7, 3)


async def test_the_market_account_is_byte_exact_with_its_slack(chain: Chain) -> None:
    data = await chain.data(await chain.create_market())
    bump = chain.program.market_address(market_id())[1]
    expected = Market(
        market_id=bytes([1]) * 32,
        creator=bytes(chain.keys.admin.pair.pubkey()),
        b_parameter=B_PARAMETER,
        initial_liquidity=LIQUIDITY,
        current_liquidity=LIQUIDITY,
        shares_yes=B_PARAMETER // 1000,
        shares_no=B_PARAMETER // 1000,
        created_at=START_UNIX_S,
        ipfs_evidence_hash=QUESTION,
        bump=bump,
    ).write_over(bytes(488))
    assert data == expected
    assert data[473:] == bytes(15)


async def test_creating_costs_rent_and_fee_and_logs_the_system_call_inside(chain: Chain) -> None:
    creator = await chain.funded()
    before = await chain.lamports(creator)
    call = chain.program.create_market(Wallet(str(creator.pubkey())), market_id(), B_PARAMETER, LIQUIDITY, QUESTION)
    logs = await logs_of(chain, await chain.land(call, creator))
    assert before - await chain.lamports(creator) == 4_287_360 + 5_000
    program = chain.program.program_id
    assert logs[:4] == [
        f"Program {program} invoke [1]",
        "Program log: Instruction: CreateMarket",
        f"Program {SYSTEM_PROGRAM} invoke [2]",
        f"Program {SYSTEM_PROGRAM} success",
    ]
    assert logs[4].startswith("Program data: ")
    assert logs[-1] == f"Program {program} success"


async def test_a_market_id_is_taken_once(chain: Chain) -> None:
    await chain.create_market()
    creator = await chain.funded()
    before = await chain.data(market_id())
    call = chain.program.create_market(Wallet(str(creator.pubkey())), market_id(), 5, 5, QUESTION)
    refused = await chain.refusal(call, creator)
    assert name_of(refused) == "AccountAlreadyInUse"
    assert "custom program error: 0x0" in refused.args[0].message
    assert await chain.data(market_id()) == before


async def test_lamports_sent_ahead_do_not_stop_a_market(chain: Chain) -> None:
    address = chain.program.market_address(market_id())[0]
    admin = chain.keys.admin.pair
    ahead = transfer(TransferParams(from_pubkey=admin.pubkey(), to_pubkey=address, lamports=1_000_000))
    await chain.land(ahead, admin)
    await chain.create_market()
    assert await state_of(chain) is Lifecycle.PROPOSED
    assert (await chain.client.get_balance(address)).value == 4_287_360


async def test_global_config_is_initialised_once(chain: Chain) -> None:
    intruder = await chain.funded()
    wallet = Wallet(str(intruder.pubkey()))
    refused = await chain.refusal(chain.program.initialize_global_config(wallet, wallet, wallet), intruder)
    assert name_of(refused) == "AccountAlreadyInUse"


async def test_global_config_holds_the_defaults(chain: Chain) -> None:
    answer = await chain.client.get_account_info(chain.program.config_address()[0], Confirmed, "base64")
    assert answer.value is not None
    assert (len(answer.value.data), answer.value.lamports) == (206, 2_324_640)
    keys = chain.keys
    config = chain.program.config(answer.value.data, 1, keys.backend.wallet, keys.admin.wallet)
    assert (config.proposal_threshold_bps, config.dispute_threshold_bps, config.dispute_period_s) == (
        7000,
        6000,
        259200,
    )
    assert (config.may_aggregate, config.may_approve, config.is_paused) == (True, True, False)
    assert answer.value.data[104:110] == (300).to_bytes(2, "little") + (200).to_bytes(2, "little") + (500).to_bytes(
        2, "little"
    )


@pytest.mark.parametrize(
    ("likes", "dislikes", "refusal"),
    [(6999, 3001, "InsufficientVotes"), (0, 0, "NoVotesRecorded"), (0, 5, "InsufficientVotes")],
)
async def test_too_few_likes_are_refused_by_name(chain: Chain, likes: int, dislikes: int, refusal: str) -> None:
    market, admin, backend = await chain.create_market(), chain.keys.admin, chain.keys.backend
    await chain.land(chain.program.aggregate_proposal_votes(backend.wallet, market, likes, dislikes), backend.pair)
    before = await chain.data(market)
    assert name_of(await chain.refusal(chain.program.approve_proposal(admin.wallet, market), admin.pair)) == refusal
    assert await chain.data(market) == before


@pytest.mark.parametrize(("likes", "dislikes"), [(7000, 3000), (1, 0), (4_294_967_295, 0)])
async def test_enough_likes_are_approved(chain: Chain, likes: int, dislikes: int) -> None:
    market, admin, backend = await chain.create_market(), chain.keys.admin, chain.keys.backend
    await chain.land(chain.program.aggregate_proposal_votes(backend.wallet, market, likes, dislikes), backend.pair)
    await chain.land(chain.program.approve_proposal(admin.wallet, market), admin.pair)
    assert await state_of(chain) is Lifecycle.APPROVED


async def test_tallies_whose_sum_does_not_fit_are_refused(chain: Chain) -> None:
    market, backend = await chain.create_market(), chain.keys.backend
    call = chain.program.aggregate_proposal_votes(backend.wallet, market, 4_294_967_295, 1)
    assert name_of(await chain.refusal(call, backend.pair)) == "OverflowError"


async def test_tallies_are_written_absolutely(chain: Chain) -> None:
    market, backend = await chain.create_market(), chain.keys.backend
    for likes, dislikes in ((7, 3), (1, 9), (2, 0)):
        await chain.land(chain.program.aggregate_proposal_votes(backend.wallet, market, likes, dislikes), backend.pair)
    seen = chain.program.market(market, await chain.data(market), 0)
    assert (seen.proposal_likes, seen.proposal_dislikes) == (2, 0)


async def test_an_approved_market_takes_no_tallies_and_no_second_approval(chain: Chain) -> None:
    market, admin, backend = await chain.create_market(), chain.keys.admin, chain.keys.backend
    await chain.land(chain.program.aggregate_proposal_votes(backend.wallet, market, 7, 3), backend.pair)
    await chain.land(chain.program.approve_proposal(admin.wallet, market), admin.pair)
    tally = chain.program.aggregate_proposal_votes(backend.wallet, market, 1, 1)
    assert name_of(await chain.refusal(tally, backend.pair)) == "InvalidStateForVoting"
    again = chain.program.approve_proposal(admin.wallet, market)
    assert name_of(await chain.refusal(again, admin.pair)) == "InvalidStateTransition"


async def test_activation_and_cancelling_follow_the_lifecycle(chain: Chain) -> None:
    program, admin, backend = chain.program, chain.keys.admin, chain.keys.backend
    first, second = await chain.create_market(1), await chain.create_market(2)
    early = await chain.refusal(program.activate_market(admin.wallet, first), admin.pair)
    assert name_of(early) == "InvalidStateTransition"
    await chain.land(program.aggregate_proposal_votes(backend.wallet, first, 7, 3), backend.pair)
    await chain.land(program.approve_proposal(admin.wallet, first), admin.pair)
    stranger = await chain.refusal(program.activate_market(backend.wallet, first), backend.pair)
    assert name_of(stranger) == "Unauthorized"
    await chain.land(program.activate_market(admin.wallet, first), admin.pair)
    assert await state_of(chain, 1) is Lifecycle.ACTIVE
    assert name_of(await chain.refusal(program.cancel_market(admin.wallet, first), admin.pair)) == "CannotCancelMarket"
    await chain.land(program.cancel_market(admin.wallet, second), admin.pair)
    cancelled = program.market(second, await chain.data(second), 0)
    assert (cancelled.state, cancelled.cancelled_at_s) == (Lifecycle.CANCELLED, START_UNIX_S)
    again = await chain.refusal(program.cancel_market(admin.wallet, second), admin.pair)
    assert name_of(again) == "MarketAlreadyCancelled"


Alter = Callable[[list[AccountMeta], Chain, Keypair], None]


def swap(index: int, key: Callable[[Chain], Pubkey]) -> Alter:
    def alter(metas: list[AccountMeta], chain: Chain, _: Keypair) -> None:
        metas[index] = AccountMeta(key(chain), metas[index].is_signer, metas[index].is_writable)

    return alter


def cut(metas: list[AccountMeta], _chain: Chain, _stranger: Keypair) -> None:
    del metas[2:]


def unsign(metas: list[AccountMeta], _chain: Chain, _stranger: Keypair) -> None:
    metas[2] = AccountMeta(metas[2].pubkey, is_signer=False, is_writable=False)


def lock(metas: list[AccountMeta], _chain: Chain, _stranger: Keypair) -> None:
    metas[0] = AccountMeta(metas[0].pubkey, is_signer=False, is_writable=False)


def impersonate(metas: list[AccountMeta], _chain: Chain, stranger: Keypair) -> None:
    metas[2] = AccountMeta(stranger.pubkey(), is_signer=True, is_writable=False)


@pytest.mark.parametrize(
    ("alter", "refusal"),
    [
        (impersonate, "Unauthorized"),
        (unsign, "AccountNotSigner"),
        (lock, "ConstraintMut"),
        (cut, "AccountNotEnoughKeys"),
        (swap(0, lambda chain: chain.program.market_address(market_id(9))[0]), "AccountNotInitialized"),
        (swap(0, lambda chain: chain.program.config_address()[0]), "AccountDiscriminatorMismatch"),
        (swap(1, lambda chain: chain.program.market_address(market_id())[0]), "AccountDiscriminatorMismatch"),
        (swap(0, lambda chain: chain.program.program_id), "AccountOwnedByWrongProgram"),
        (
            swap(1, lambda chain: Pubkey.find_program_address([b"global_config"], chain.program.program_id)[0]),
            "AccountNotInitialized",
        ),
    ],
)
async def test_wrong_accounts_are_refused_with_anchors_words(chain: Chain, alter: Alter, refusal: str) -> None:
    market, backend = await chain.create_market(), chain.keys.backend
    stranger = await chain.funded()
    call = chain.program.aggregate_proposal_votes(backend.wallet, market, 7, 3)
    metas = list(call.accounts)
    alter(metas, chain, stranger)
    before = await chain.data(market)
    signers = (
        [stranger, backend.pair]
        if any(m.is_signer and m.pubkey == backend.pair.pubkey() for m in metas)
        else [stranger]
    )
    refused = await chain.refusal(Instruction(call.program_id, bytes(call.data), metas), *signers)
    assert name_of(refused) == refusal
    assert await chain.data(market) == before


async def test_an_approval_by_another_key_than_the_admins_is_refused(chain: Chain) -> None:
    market, backend = await chain.create_market(), chain.keys.backend
    refused = await chain.refusal(chain.program.approve_proposal(backend.wallet, market), backend.pair)
    assert name_of(refused) == "Unauthorized"
    logs = refused.args[0].data.logs
    assert any(line.startswith("Program log: AnchorError caused by account: admin. Error Code:") for line in logs)


async def test_a_market_at_a_wrong_address_is_refused_with_both_addresses(chain: Chain) -> None:
    admin = chain.keys.admin
    call = chain.program.create_market(admin.wallet, market_id(), B_PARAMETER, LIQUIDITY, QUESTION)
    metas, wrong = list(call.accounts), chain.program.market_address(market_id(2))[0]
    right = metas[1].pubkey
    metas[1] = AccountMeta(wrong, is_signer=False, is_writable=True)
    refused = await chain.refusal(Instruction(call.program_id, bytes(call.data), metas), admin.pair)
    assert name_of(refused) == "ConstraintSeeds"
    logs = refused.args[0].data.logs
    left = logs.index("Program log: Left:")
    assert logs[left + 1 : left + 4] == [f"Program log: {wrong}", "Program log: Right:", f"Program log: {right}"]


@pytest.mark.parametrize(
    ("b_parameter", "liquidity", "refusal"), [(0, 1, "InvalidBParameter"), (1, 0, "InvalidLiquidity")]
)
async def test_a_market_without_substance_is_refused(
    chain: Chain, b_parameter: int, liquidity: int, refusal: str
) -> None:
    admin = chain.keys.admin
    call = chain.program.create_market(admin.wallet, market_id(), b_parameter, liquidity, QUESTION)
    assert name_of(await chain.refusal(call, admin.pair)) == refusal
    assert (await chain.client.get_account_info(chain.program.market_address(market_id())[0])).value is None


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"\x00" * 8, "InstructionFallbackNotFound"),
        (b"", "InstructionFallbackNotFound"),
        (
            instruction_data("aggregate_proposal_votes", {"final_likes": 1, "final_dislikes": 1})[:-1],
            "InstructionDidNotDeserialize",
        ),
    ],
)
async def test_data_that_names_no_instruction_is_refused(chain: Chain, data: bytes, refusal: str) -> None:
    market, backend = await chain.create_market(), chain.keys.backend
    metas = list(chain.program.aggregate_proposal_votes(backend.wallet, market, 1, 1).accounts)
    refused = await chain.refusal(Instruction(chain.program.program_id, data, metas), backend.pair)
    assert name_of(refused) == refusal


async def test_a_landed_failure_costs_the_fee_and_changes_nothing_else(chain: Chain) -> None:
    market, admin = await chain.create_market(), chain.keys.admin
    before, lamports = await chain.data(market), await chain.lamports(admin.pair)
    call = chain.program.approve_proposal(admin.wallet, market)
    signature = await chain.send(await chain.signed([call], admin.pair), preflight=False)
    chain.ledger.tick()
    status = (await chain.status(signature)).value[0]
    assert status is not None and status.err is not None
    assert failure_name(status.err, await logs_of(chain, signature)) == "NoVotesRecorded"
    assert lamports - await chain.lamports(admin.pair) == 5_000
    assert await chain.data(market) == before


async def test_aggregation_and_approval_in_one_transaction_are_atomic(chain: Chain) -> None:
    market, admin, backend = await chain.create_market(), chain.keys.admin, chain.keys.backend
    program = ZmartProgram(chain.program.program_id)
    before = await chain.data(market)
    bad = [
        program.aggregate_proposal_votes(backend.wallet, market, 6, 4),
        program.approve_proposal(admin.wallet, market),
    ]
    signature = await chain.send(await chain.signed(bad, admin.pair, backend.pair), preflight=False)
    chain.ledger.tick()
    status = (await chain.status(signature)).value[0]
    assert status is not None
    assert "InstructionError(1, Custom(6025))" in str(status)
    assert await chain.data(market) == before
    good = [
        program.aggregate_proposal_votes(backend.wallet, market, 7, 3),
        program.approve_proposal(admin.wallet, market),
    ]
    await chain.send(await chain.signed(good, admin.pair, backend.pair))
    chain.ledger.tick()
    assert await state_of(chain) is Lifecycle.APPROVED
