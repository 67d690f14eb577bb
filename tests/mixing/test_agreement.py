"""The election: books, merits, and whether all come to hold the same pair."""

import math
import random as random_module

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.mixing.agreement import (
    CANDIDATE_SHRINKAGE,
    JUDGE_SHRINKAGE,
    JUDGING_ROUNDS,
    WORST,
    Book,
    Schedule,
    Stage,
    Vote,
    Voter,
    judging,
    merits,
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
    voters = [Voter(node) for node in nodes]
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
    voter = Voter("a")
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


def by_normal_equations(votes: list[Vote]) -> dict[str, float]:
    """The same least squares with the same shrinkage, solved at once in float64."""
    origins = sorted({vote.origin for vote in votes})
    judges = sorted({vote.judge for vote in votes})
    design = np.zeros((len(votes), len(origins) + len(judges)))
    for row, vote in enumerate(votes):
        design[row, origins.index(vote.origin)] = 1
        design[row, len(origins) + judges.index(vote.judge)] = 1
    scores = np.array([vote.score for vote in votes])
    ridge = [CANDIDATE_SHRINKAGE] * len(origins) + [JUDGE_SHRINKAGE] * len(judges)
    matrix = design.T @ design + np.diag(ridge)
    parts = np.linalg.solve(matrix, design.T @ (scores - scores.mean()))
    return {origin: scores.mean() + part for origin, part in zip(origins, parts, strict=False)}


def random_votes(seed: int, nodes: int = 12, harsh: float = 50.0) -> tuple[list[Vote], np.ndarray]:
    """Five votes on each candidate by judges who differ much, and what the candidates are worth."""
    rng = np.random.default_rng(seed)
    worth_N, level_N = 100 + 10 * rng.normal(size=nodes), harsh * rng.uniform(size=nodes)
    votes = []
    for origin in range(nodes):
        others = [judge for judge in range(nodes) if judge != origin]
        for judge in rng.choice(others, 5, replace=False):
            score = worth_N[origin] + level_N[judge] + 3 * rng.normal()
            votes.append(Vote(f"{origin:02}", f"{judge:02}", float(score)))
    return votes, worth_N


def test_merits_are_the_least_squares_fit() -> None:
    votes, _ = random_votes(1)
    found, wanted = merits(Book(tuple(votes))), by_normal_equations(votes)
    assert found.keys() == wanted.keys()
    for origin, merit in found.items():
        assert merit.score == pytest.approx(wanted[origin], abs=0.01)
        assert merit.votes == 5


def test_harsh_judges_do_not_decide() -> None:
    """Over many elections the winner is close to the best, whoever judged it; by mean scores it
    is not."""
    lost, lost_by_mean = [], []
    for seed in range(30):
        votes, worth_N = random_votes(seed, harsh=200.0)
        found = merits(Book(tuple(votes)))
        chosen = int(min(found.values()).origin)
        lost.append(worth_N[chosen] - worth_N.min())
        means = [np.mean([v.score for v in votes if int(v.origin) == o]) for o in range(12)]
        lost_by_mean.append(worth_N[int(np.argmin(means))] - worth_N.min())
    assert np.mean(lost) < 3 < 6 < np.mean(lost_by_mean)


def test_a_single_lucky_vote_does_not_win() -> None:
    votes, _ = random_votes(2)
    best = min(merits(Book(tuple(votes))).values())
    lucky = Vote("lucky", votes[0].judge, best.score - 1)
    assert min(merits(Book((*votes, lucky))).values()).origin != "lucky"


def test_two_nodes_choose_the_better_one() -> None:
    book = Book((Vote("a", "b", 3.0), Vote("b", "a", 2.0)))
    assert min(merits(book).values()).origin == "b"


@given(votes, st.randoms(use_true_random=False))
def test_merits_do_not_depend_on_the_order_of_the_votes(
    first: list[Vote], random: random_module.Random
) -> None:
    shuffled = list(first)
    random.shuffle(shuffled)
    assert merits(Book(tuple(first))) == merits(Book(tuple(shuffled)))


def test_a_diverged_pair_loses_and_says_nothing_of_its_judges() -> None:
    votes, _ = random_votes(3)
    before = merits(Book(tuple(votes)))
    bad = [Vote("bad", vote.judge, WORST) for vote in votes[:3]]
    after = merits(Book((*votes, *bad)))
    assert after.pop("bad").score == math.inf
    assert after == before


def test_equal_candidates_go_by_their_names() -> None:
    voter = Voter("c")
    for origin in "cba":
        voter.book.add(Vote(origin, "d", 2.0))
    assert voter.is_better("b")
    voter.keep("b")
    assert voter.is_better("a")
    assert not voter.is_better("b")


def test_nobody_takes_what_nobody_has_judged() -> None:
    assert not Voter("b").is_better("a")


def test_a_node_falls_back_on_its_own_pair() -> None:
    voter = Voter("a")
    for judge in "cd":
        voter.book.add(Vote("b", judge, 1.0))
    voter.keep("b")
    assert voter.choice == "b"
    for judge in "cd":
        voter.book.add(Vote("a", judge, 0.5))
    assert voter.choice == "a"


@pytest.mark.parametrize("score", [math.inf, math.nan, 1e300])
def test_a_diverged_pair_gets_the_worst_score(score: float) -> None:
    voter = Voter("a")
    voter.judged("b", score)
    assert list(voter.book) == [Vote("b", "a", WORST)]


def test_the_stages_follow_each_other() -> None:
    schedule = Schedule(2)
    stages = [schedule.stage(round_) for round_ in range(1, schedule.rounds + 1)]
    assert stages == [Stage.JUDGING] * JUDGING_ROUNDS + [Stage.COUNTING] * 2 + [Stage.SPREADING] * 2
