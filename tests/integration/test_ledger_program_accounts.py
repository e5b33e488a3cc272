"""Every instruction with every account wrong in every way: Anchor's error, in Anchor's order, and nothing changes."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from chain.program import ConfigChange
from tests.support.stage import DISPUTE_PERIOD_S, HASH, MARKET, SOL, MakeStage, Stage, wallet

NOBODY = Pubkey.from_bytes(bytes([77]) * 32)


@dataclass(frozen=True)
class Scene:
    """A call that would succeed, its signer, and its accounts by kind, in order.

    p: an existing account of the program; i: one that the call creates; s: a signer; f: the System program;
    r: one that must be a certain wallet.
    """

    call: Instruction
    signer: Keypair
    kinds: str


def at_start(stage: Stage) -> dict[str, Scene]:
    program, admin, creator = stage.program, wallet(stage.admin), wallet(stage.creator)
    change = ConfigChange(300, 200, 500, 7_000, 6_000)
    return {
        "update_global_config": Scene(program.update_global_config(admin, change), stage.admin, "sp"),
        "emergency_pause": Scene(program.emergency_pause(admin), stage.admin, "sp"),
        "create_market": Scene(program.create_market(creator, MARKET, SOL, SOL, HASH), stage.creator, "sipf"),
    }


def at_proposal(stage: Stage) -> dict[str, Scene]:
    stage.create()
    program, admin, alice = stage.program, wallet(stage.admin), wallet(stage.alice)
    tally = program.aggregate_proposal_votes(wallet(stage.backend), MARKET, 7, 3)
    stage.land(tally, stage.backend)
    return {
        "submit_proposal_vote": Scene(program.submit_proposal_vote(alice, MARKET, True), stage.alice, "pisf"),
        "aggregate_proposal_votes": Scene(tally, stage.backend, "pps"),
        "approve_proposal": Scene(program.approve_proposal(admin, MARKET), stage.admin, "spp"),
        "cancel_market": Scene(program.cancel_market(admin, MARKET), stage.admin, "spp"),
    }


def at_approval(stage: Stage) -> dict[str, Scene]:
    stage.create()
    stage.approve()
    call = stage.program.activate_market(wallet(stage.creator), MARKET)
    return {"activate_market": Scene(call, stage.creator, "spp")}


def at_trading(stage: Stage) -> dict[str, Scene]:
    stage.activate()
    stage.buy(stage.alice, True, SOL)
    return {
        "buy_shares": Scene(stage.buying(stage.bob, False, SOL), stage.bob, "ppisrf"),
        "buy_shares, again": Scene(stage.buying(stage.alice, True, SOL), stage.alice, "ppisrf"),
        "sell_shares": Scene(stage.selling(stage.alice, True, 100_000_000), stage.alice, "pppsrf"),
        "resolve_market": Scene(stage.resolving(), stage.resolver, "pps"),
    }


def at_resolution(stage: Stage) -> dict[str, Scene]:
    stage.activate()
    stage.resolve()
    stage.later(1)
    return {"initiate_dispute": Scene(stage.disputing(), stage.bob, "pps")}


def at_dispute(stage: Stage) -> dict[str, Scene]:
    stage.activate()
    stage.resolve()
    stage.dispute()
    program, alice, backend = stage.program, wallet(stage.alice), wallet(stage.backend)
    stage.later(1)
    return {
        "submit_dispute_vote": Scene(program.submit_dispute_vote(alice, MARKET, True), stage.alice, "pisf"),
        "aggregate_dispute_votes": Scene(program.aggregate_dispute_votes(backend, MARKET, 1, 0), stage.backend, "pps"),
        "finalize_market": Scene(stage.finalizing(1, 0), stage.backend, "pps"),
    }


def at_the_end(stage: Stage) -> dict[str, Scene]:
    stage.activate()
    stage.buy(stage.alice, True, SOL)
    stage.resolve()
    stage.later(DISPUTE_PERIOD_S)
    stage.land(stage.finalizing(), stage.backend)
    return {
        "claim_winnings": Scene(stage.claiming(stage.alice), stage.alice, "pppsrf"),
        "withdraw_liquidity": Scene(stage.withdrawing(), stage.creator, "ps"),
    }


SCENES = [at_start, at_proposal, at_approval, at_trading, at_resolution, at_dispute, at_the_end]


def altered(scene: Scene, index: int, **rights: object) -> Instruction:
    metas = list(scene.call.accounts)
    old = metas[index]
    kept = {"pubkey": old.pubkey, "is_signer": old.is_signer, "is_writable": old.is_writable}
    metas[index] = AccountMeta(**{**kept, **rights})  # type: ignore[arg-type]
    return Instruction(scene.call.program_id, bytes(scene.call.data), metas)


WITH_WRONG_KEY = {
    "p": "AccountNotInitialized",
    "i": "ConstraintSeeds",
    "f": "InvalidProgramId",
}


def refusals(stage: Stage, scene: Scene) -> list[tuple[str, str, str]]:
    """(what was altered, what it was refused with, what it must be refused with)."""
    found = []
    for index, kind in enumerate(scene.kinds):
        meta = scene.call.accounts[index]
        if kind in WITH_WRONG_KEY:
            call = altered(scene, index, pubkey=NOBODY)
            found.append((f"{index} is nobody", stage.refused(call, scene.signer), WITH_WRONG_KEY[kind]))
        if kind == "r":
            call = altered(scene, index, pubkey=NOBODY)
            expected = "InvalidResolver" if meta.pubkey == stage.resolver.pubkey() else "Unauthorized"
            found.append((f"{index} is nobody", stage.refused(call, scene.signer), expected))
        if kind == "s":
            call = altered(scene, index, is_signer=False)
            found.append((f"{index} unsigned", stage.refused(call, stage.fees), "AccountNotSigner"))
        if kind in "pi" and meta.is_writable:
            expected = "PrivilegeEscalation" if kind == "i" and meta.pubkey not in held(stage) else "ConstraintMut"
            call = altered(scene, index, is_writable=False)
            found.append((f"{index} read-only", stage.refused(call, scene.signer), expected))
        if kind == "p":
            call = altered(scene, index, pubkey=stage.program.program_id)
            found.append((f"{index} of a loader", stage.refused(call, scene.signer), "AccountOwnedByWrongProgram"))
    return found


def held(stage: Stage) -> set[Pubkey]:
    return {Pubkey.from_bytes(key) for key in stage.images()}


@pytest.mark.parametrize("scenes", SCENES, ids=lambda scenes: scenes.__name__)
def test_wrong_accounts_are_refused_with_anchors_error(
    stage: Stage, scenes: Callable[[Stage], dict[str, Scene]]
) -> None:
    for name, scene in scenes(stage).items():
        seen = refusals(stage, scene)
        assert len(seen) >= len(scene.kinds), name
        for what, found, expected in seen:
            assert found == expected, f"{name}: {what}"


def test_every_call_of_the_scenes_succeeds_when_it_is_left_alone(make_stage: MakeStage) -> None:
    names: set[str] = {"initialize_global_config"}  # runs once, when a chain begins
    for scenes in SCENES:
        for name in scenes(make_stage()):
            stage = make_stage()
            scene = scenes(stage)[name]
            stage.land(scene.call, scene.signer)
            names.add(name.split(",")[0])
    assert len(names) == 18


@pytest.mark.parametrize("scenes", SCENES, ids=lambda scenes: scenes.__name__)
def test_missing_accounts_and_short_arguments_are_refused(
    stage: Stage, scenes: Callable[[Stage], dict[str, Scene]]
) -> None:
    for name, scene in scenes(stage).items():
        program_id, data, metas = scene.call.program_id, bytes(scene.call.data), list(scene.call.accounts)
        signed = [meta for meta in metas[:-1] if meta.is_signer]
        signer = scene.signer if signed else stage.fees
        found = stage.refused(Instruction(program_id, data, metas[:-1]), signer)
        assert found == "AccountNotEnoughKeys", name
        if len(data) > 8:
            short = Instruction(program_id, data[:-1], metas)
            assert stage.refused(short, scene.signer) == "InstructionDidNotDeserialize", name


def test_accounts_are_loaded_in_order_before_anything_is_created_or_compared(stage: Stage) -> None:
    """CI 8: a vote with a wrong market, a taken record and no System program is refused for its market first."""
    stage.create()
    call = stage.program.submit_proposal_vote(wallet(stage.alice), MARKET, True)
    stage.land(call, stage.alice)
    scene = Scene(call, stage.alice, "pisf")
    assert stage.failure(call, stage.alice)[0] == "AccountAlreadyInUse"
    wrong = Scene(altered(scene, 3, pubkey=NOBODY), stage.alice, "pisf")
    assert stage.refused(wrong.call, stage.alice) == "InvalidProgramId"
    assert stage.refused(altered(wrong, 0, pubkey=NOBODY), stage.alice) == "AccountNotInitialized"
    config = stage.program.config_address()[0]
    assert stage.refused(altered(wrong, 0, pubkey=config), stage.alice) == "AccountDiscriminatorMismatch"


def test_an_anchor_error_is_logged_with_its_account_or_its_place(stage: Stage) -> None:
    stage.create()
    late = stage.program.submit_dispute_vote(wallet(stage.alice), MARKET, True)
    assert stage.logged(late, stage.alice) == (
        "Program log: AnchorError caused by account: market. Error Code: InvalidStateForVoting. "
        "Error Number: 6051. Error Message: Market is not in a voting state."
    )
    tally = stage.program.aggregate_proposal_votes(wallet(stage.backend), MARKET, 2**32 - 1, 1)
    assert stage.logged(tally, stage.backend).startswith(
        "Program log: AnchorError thrown in programs/zmart-core/src/instructions/aggregate_proposal_votes.rs:1. "
        "Error Code: OverflowError. Error Number: 6033."
    )
