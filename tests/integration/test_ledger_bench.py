"""What the ledger's benchmark sends is real, and what it reports is the middle of its runs. Nothing here is timed."""

import itertools
from collections import Counter

import httpx
from solders.hash import Hash
from solders.keypair import Keypair

from app.bench.harness import Figures, in_turns
from app.bench.transactions import KINDS, SETTLE_SLOTS, Mix
from tests.support.ledger import Chain


async def test_each_kind_of_the_mix_lands_with_preflight_at_confirmed(chain: Chain) -> None:
    mix = Mix(chain.program, chain.keys, [await chain.funded() for _ in range(2)])
    accepted: Counter[str] = Counter()
    async with httpx.AsyncClient(headers={"Content-Type": "application/json"}) as client:
        for _ in range(3):
            latest = chain.ledger.node.bank.block("confirmed")
            mix.blockhash, mix.slot = Hash.from_bytes(latest.blockhash), latest.slot
            for asked in KINDS:
                kind, body = mix.body(asked)
                answer = (await client.post(chain.ledger.rpc_url, content=body)).json()
                assert "result" in answer, (kind, answer)
                accepted[kind] += 1
            chain.ledger.tick(SETTLE_SLOTS)
    assert accepted == {
        "create_market": 3,
        "submit_proposal_vote": 2,
        "aggregate_proposal_votes": 2,
        "transfer": 5,  # in the first round no market was old enough
    }


def test_ours_and_the_baseline_take_turns_and_the_middle_counts() -> None:
    order: list[str] = []
    numbers = {"ours": itertools.chain([100, 300, 200]), "baseline": itertools.chain([200, 200, 400])}

    def measure(side: str) -> Figures:
        order.append(side)
        return {"per_s": next(numbers[side])}

    report = in_turns("votes", "per_s", 3, lambda: measure("ours"), lambda: measure("baseline")).json
    assert order == ["baseline", "ours"] * 3
    assert set(report) == {"bench", "ours", "baseline", "ratio", "runs"}
    assert (report["ours"], report["baseline"], report["ratio"]) == ({"per_s": 200}, {"per_s": 200}, 0.5)
    assert [run["ratio"] for run in report["runs"]] == [0.5, 1.5, 0.5]


def test_no_two_votes_of_the_mix_spend_the_same_record(chain: Chain) -> None:
    mix = Mix(chain.program, chain.keys, [Keypair() for _ in range(3)], settle_slots=0)
    bodies = [mix.body(kind)[1] for _ in range(50) for kind in KINDS]
    assert len(set(bodies)) == len(bodies) == 200
