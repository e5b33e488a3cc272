"""What the benchmarks of votes report is real: every vote that was acknowledged is stored. No figure is judged here."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.bench import bulk, density, failover, votes
from app.bench.ballots import Voters, VotesUsedUp
from app.bench.harness import Report, Shape, worst
from app.bench.stage import VotesMissing, running_stage

STRANGER = "00000000-0000-4000-8000-000000000000"
SHAPE = Shape(seconds=0.3, rounds=1, connections=8)


def check(report: Report) -> None:
    assert set(report.json) == {"bench", "ours", "baseline", "ratio", "runs"}
    for side in (report.ours, report.baseline):
        assert side["refused"] == 0
        assert side["acknowledged"] > 0, "and each of ours was looked up, or the run would have ended"
    assert report.ours["cpu_us_per_vote"]["shard"] > 0


def by_two(wallets: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """And the last one left for whom a shard is killed."""
    return wallets[: len(wallets) // 2], wallets[len(wallets) // 2 : -1]


def test_each_vote_that_a_benchmark_counts_is_in_the_database() -> None:
    with running_stage(markets=100, wallets=3_000, signed_in=True) as stage:
        some, others = (replace(stage.voters, wallets=wallets) for wallets in by_two(stage.voters.wallets))
        singly = votes.compare(replace(stage, voters=some), SHAPE)
        check(singly)
        assert singly.ours["alone_p50_ms"] > 0
        check(bulk.compare(replace(stage, voters=others), SHAPE))
        last = replace(stage.voters, wallets=stage.voters.wallets[-1:], tokens=stage.voters.tokens[-1:])
        report = failover.compare(replace(stage, voters=last), replace(SHAPE, wallets=1))
        assert report.ours["markets"] == 8, "each of them was voted on after its shard's death, and looked up"
        (stage.folder / "votes.txt").write_text(STRANGER)
        with pytest.raises(VotesMissing, match="1 votes were acknowledged, 0 are there"):
            stage.check()


def test_no_wallet_votes_twice_on_a_market() -> None:
    voters = Voters(markets=[str(number) for number in range(20)], wallets=["w"] * 30)
    ballots = voters.ballots(0)
    cast = {(wallet, market) for wallet, market, _, _ in itertools.islice(ballots, voters.count)}
    assert len(cast) == voters.count == 600
    with pytest.raises(VotesUsedUp):
        next(ballots)


def test_of_several_cases_the_lowest_ratio_stands_for_all() -> None:
    high, low = (Report("votes", {"per_s": n}, {"per_s": 10}, n / 10, [{"ratio": n / 10}]) for n in (9, 5))
    report = worst({"a": high, "b": low}).json
    assert (report["ratio"], report["ours"]) == (0.5, {"per_s": 5})
    assert report["cases"]["a"] == {"ours": {"per_s": 9}, "baseline": {"per_s": 10}, "ratio": 0.9}
    assert [run["case"] for run in report["runs"]] == ["a", "b"]


def test_markets_are_held_and_looked_at_by_a_process_of_their_own() -> None:
    figures = density.held("actors", 2_000)
    assert figures["markets"] == 2_000
    assert figures["cpu_us_per_look"] > 0
