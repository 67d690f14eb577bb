"""The election: books, merits, and whether all come to hold the same pair."""

import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.mixing.agreement import (
    JUDGING_ROUNDS,
    WORST,
    Book,
    Schedule,
    Stage,
    Vote,
    Voter,
    judging,
)
from p2pgan.mixing.draws import Draw, Neighbors, permutation, push
from p2pgan.mixing.rehearsal import spreading_rounds

votes = st.lists(
    st.builds(Vote, st.sampled_from("abc"), st.sampled_from("abc"), st.floats(0, WORST, width=32)),
    max_size=8,
)


def neighbors_of(graph: nx.Graph) -> Neighbors:
    return [sorted(graph[node]) for node in sorted(graph)]


def elect(draw: Draw, neighbors: Neighbors, seed: int, rounds: Schedule) -> list[Voter]:
    """A whole election among nodes whose pairs are worth a random number to every judge."""
    rng = np.random.default_rng(seed)
    nodes = [str(index) for index in range(len(neighbors))]
    scores_NN = rng.uniform(size=(len(nodes), len(nodes)))
    judges = {node: len(around) for node, around in zip(nodes, neighbors, strict=True)}
    voters = [Voter(node, judges) for node in nodes]
    asked = judging(neighbors, rng)
    for round_ in range(1, rounds.rounds + 1):
        sent = [(voter.book.copy(), voter.choice) for voter in voters]
        for receiver, sources in enumerate(
            asked[round_ - 1] if round_ <= len(asked) else draw(neighbors, rng)
        ):
            voter = voters[receiver]
            for source in sources:
                book, choice = sent[source]
                voter.book.merge(book)
                if rounds.stage(round_) is Stage.JUDGING and voter.may_judge(nodes[source]):
                    voter.judged(nodes[source], scores_NN[source, receiver])
                if rounds.stage(round_) is Stage.SPREADING and voter.is_better(choice):
                    voter.keep(choice)
    return voters


OVERLAYS = {
    "ring": nx.cycle_graph(9),
    "star": nx.star_graph(8),
    "complete": nx.complete_graph(9),
    "barabasi-albert": nx.barabasi_albert_graph(12, 2, seed=3),
    "pair": nx.complete_graph(2),
}
DRAWS = {"permutation": permutation(fixed_points=True), "push": push(1), "push 3": push(3)}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("seed", range(4))
def test_all_adopt_the_best_pair_that_was_judged(overlay: str, kind: str, seed: int) -> None:
    draw, neighbors = DRAWS[kind], neighbors_of(OVERLAYS[overlay])
    spread = spreading_rounds(draw, neighbors, np.random.default_rng(1000))
    voters = elect(draw, neighbors, seed, Schedule(spread))
    everything = Book()
    for voter in voters:
        everything.merge(voter.book)
    assert all(voter.book == everything for voter in voters)
    best = min(voters[0].merit(voter.node) for voter in voters)
    assert {voter.choice for voter in voters} == {best.origin}
    for voter in voters:
        judges = len(neighbors[int(voter.node)])
        assert voter.merit(voter.node).votes == min(JUDGING_ROUNDS, judges)


def test_no_node_votes_for_itself_or_twice() -> None:
    voter = Voter("a", {"a": 2, "b": 2})
    assert not voter.may_judge("a")
    assert voter.may_judge("b")
    voter.judged("b", 3.0)
    assert not voter.may_judge("b")


@given(votes, votes, votes)
def test_merging_is_union_in_any_order_however_often(
    first: list[Vote], second: list[Vote], third: list[Vote]
) -> None:
    one, other = Book(), Book()
    for part in (first, second, third):
        one.merge(Book(tuple(part)))
    for part in (third, second, first, third):
        other.merge(Book(tuple(part)))
    assert one == other
    assert {(v.origin, v.judge) for v in one} == {
        (v.origin, v.judge) for v in (*first, *second, *third)
    }
    worst: dict[tuple[str, str], float] = {}
    for origin, judge, score in (*first, *second, *third):
        worst[origin, judge] = max(score, worst.get((origin, judge), 0.0))
    assert {(v.origin, v.judge): v.score for v in one} == worst


def test_a_copy_stays_as_it_was() -> None:
    book = Book((Vote("a", "b", 1.0),))
    copied = book.copy()
    book.add(Vote("a", "c", 2.0))
    book.add(Vote("a", "b", 5.0))
    assert list(copied) == [Vote("a", "b", 1.0)]


def test_merit_is_the_mean_of_enough_votes() -> None:
    judges = {"lucky": 5, "sound": 5, "leaf": 1, "unknown": 5}
    voter = Voter("sound", judges)
    for vote in (
        Vote("lucky", "a", 0.0),
        Vote("sound", "a", 3.0),
        Vote("sound", "b", 5.0),
        Vote("leaf", "a", 3.5),
    ):
        voter.book.add(vote)
    order = sorted(judges, key=voter.merit)
    assert order == ["leaf", "sound", "lucky", "unknown"]
    assert voter.merit("sound").mean == 4.0
    assert voter.merit("unknown").mean == math.inf


def test_equal_candidates_go_by_their_names() -> None:
    voter = Voter("c", {"a": 1, "b": 1, "c": 1})
    for origin in "cba":
        voter.book.add(Vote(origin, "d", 2.0))
    assert voter.is_better("b")
    voter.keep("b")
    assert voter.is_better("a")
    assert not voter.is_better("b")


def test_a_node_falls_back_on_its_own_pair() -> None:
    voter = Voter("a", {"a": 2, "b": 2})
    for judge in "cd":
        voter.book.add(Vote("b", judge, 1.0))
    voter.keep("b")
    assert voter.choice == "b"
    for judge in "cd":
        voter.book.add(Vote("a", judge, 0.5))
    assert voter.choice == "a"


@pytest.mark.parametrize("score", [math.inf, math.nan, 1e300])
def test_a_diverged_pair_gets_the_worst_score(score: float) -> None:
    voter = Voter("a", {"b": 1})
    voter.judged("b", score)
    assert list(voter.book) == [Vote("b", "a", WORST)]


def test_the_stages_follow_each_other() -> None:
    schedule = Schedule(2)
    stages = [schedule.stage(round_) for round_ in range(1, schedule.rounds + 1)]
    assert stages == [Stage.JUDGING] * JUDGING_ROUNDS + [Stage.COUNTING] * 2 + [Stage.SPREADING] * 2
