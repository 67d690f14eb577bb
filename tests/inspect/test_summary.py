"""What a run came to, on the run of `conftest.py`."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import RecordError
from p2pgan.inspect.summary import (
    QUALITY_FIGURES,
    Spread,
    quality_statistics,
    score_statistics,
    spread,
    summarise,
    traffic,
    unaccounted,
)
from p2pgan.record.rundir import RunDirectory, to_json
from p2pgan.record.schema import (
    Agreed,
    FaultInjected,
    NodeStarted,
    NodeStopped,
    Quality,
    RoundFinished,
    Scores,
    Tally,
    VectorReceived,
    VectorSent,
)


def test_totals(run: RunDirectory) -> None:
    summary = summarise(run)
    assert summary.run == "trial"
    assert (summary.rounds, summary.iterations) == (2, 40)
    assert (summary.sent, summary.received, summary.mixed, summary.dropped) == (5, 3, 2, 2)
    assert summary.bytes_sent == 440
    assert summary.dropped_reasons == {"too old": 1, "link is down": 1}
    assert summary.records == 34
    assert summary.wall_s == 33


def test_the_coordinator_says_how_far_the_run_came(tmp_path: Path, write: Any) -> None:
    """A worker has trained a round that was made without it."""
    write(
        tmp_path / "events.jsonl",
        [
            ("coordinator", RoundFinished(round=2, iterations=40)),
            ("0", RoundFinished(round=3, iterations=60)),
        ],
    )
    summary = summarise(tmp_path / "events.jsonl")
    assert (summary.rounds, summary.iterations) == (2, 40)


def test_without_rounds_of_its_own_a_coordinator_says_nothing(tmp_path: Path, write: Any) -> None:
    """As that of FL-GAN in lockstep, which only sends."""
    sent = VectorSent(peer="0", round=1, nets=["G"], bytes=4, exchange="x")
    write(
        tmp_path / "events.jsonl",
        [("coordinator", sent), ("0", RoundFinished(round=3, iterations=60))],
    )
    assert summarise(tmp_path / "events.jsonl").iterations == 60


def test_settings_come_from_the_log(run: RunDirectory) -> None:
    assert summarise(run).settings == {
        "algorithm": "gossip",
        "dataset": "digits",
        "partition": "iid",
        "seed": 7,
    }


def test_settings_come_from_run_toml_where_the_log_has_none(
    run: RunDirectory, lines: list[Any], write: Any
) -> None:
    run.events.unlink()
    write(run.events, lines[1:])
    assert summarise(run).settings == {"algorithm": "fl-gan"}
    assert summarise(run.events).settings == {}


def test_each_node(run: RunDirectory) -> None:
    a, b, c = summarise(run).nodes
    assert (a.node, a.rounds, a.iterations, a.stopped) == ("a", 2, 40, "finished")
    assert (b.loss_d, b.loss_g, b.fid, b.ms, b.stopped) == (0.5, 0.5, 10.0, 2.0, None)
    assert (c.fid, c.ms, c.traffic.bytes_sent) == (None, 2.0, 40)


def test_curves_have_a_point_for_each_time_of_scoring(run: RunDirectory) -> None:
    curves = summarise(run).curves
    first, second = curves.scores
    assert (first.iterations, first.nodes, first.samples) == (20, 3, 50)
    assert first.fid == Spread(mean=20, std=math.sqrt(200 / 3), min=10, max=30)
    assert second.ms == Spread(mean=2, std=0, min=2, max=2)
    assert math.isnan(second.fid.mean)
    assert [(p.round, p.iterations, p.g, p.d) for p in curves.consensus] == [
        (1, 20, 1, 2),
        (2, 40, 2, 4),
    ]


def test_last_scores_of_nodes_that_are_not_scored_together(
    run: RunDirectory, lines: list[Any], write: Any
) -> None:
    """Daemons go at their own pace: each counts with its own last scores."""
    run.events.unlink()
    late = [line for line in lines if line[0] != "c" or getattr(line[1], "round", 1) == 1]
    write(run.events, late)
    scores = summarise(run).scores
    assert scores["fid"] == {**msgspec.structs.asdict(spread([10, 10, 30])), "samples": 50}


def test_peers_lost_and_refused(run: RunDirectory) -> None:
    summary = summarise(run)
    assert [(e.node, e.peer, e.reason) for e in summary.peers_lost] == [("b", "c", "silent")]
    assert [(e.node, e.peer, e.reason) for e in summary.peers_refused] == [
        ("a", "z", "refused them: another run")
    ]


def test_who_was_lost_on_purpose_is_told_so_and_no_cause_for_a_warning(
    tmp_path: Path, write: Any
) -> None:
    vector: dict[str, Any] = {"round": 1, "nets": ["D"], "exchange": "1", "bytes": 3}
    path = tmp_path / "events.jsonl"
    write(
        path,
        [
            ("0", NodeStarted()),
            ("0", FaultInjected(fault="crash")),
            ("1", VectorSent(peer="2", **vector)),
            ("2", VectorReceived(peer="1", **vector)),
        ],
    )
    summary = summarise(path)
    assert {node.node: node.stopped for node in summary.nodes}["0"] == "crash"
    assert summary.warnings == ["nothing reached node `1`"]


def test_warnings_name_what_to_look_into(run: RunDirectory) -> None:
    assert summarise(run).warnings == [
        "nothing reached node `a`",
        (
            "1 vectors were sent and neither received nor dropped, "
            "the first from `b` to `a` in round 2"
        ),
        "the scores of node `c` are not finite: it diverged",
        "node `a`, peer `z`, refused them: another run",
    ]


def test_unaccounted_are_those_of_the_run(run: RunDirectory) -> None:
    assert [sent.exchange for sent in unaccounted(run)] == ["b2"]
    assert summarise(run).unaccounted == unaccounted(run)


def test_daemons_logs_are_one_run(run: RunDirectory, lines: list[Any], write: Any) -> None:
    together = summarise(run)
    run.events.unlink()
    for node in ("a", "b", "c"):
        write(run.node_events(node), [line for line in lines if line[0] == node])
    apart = summarise(run)
    assert apart.nodes == together.nodes
    assert apart.unaccounted == together.unaccounted
    assert apart.scores["ms"] == together.scores["ms"]


def test_the_log_of_one_node_does_not_blame_the_others(
    tmp_path: Path, lines: list[Any], write: Any
) -> None:
    path = tmp_path / "events.jsonl"
    write(path, [line for line in lines if line[0] == "b"])
    assert summarise(path).warnings == ["2 vectors went to nodes whose logs are not here"]


def test_a_clean_run_has_no_warnings(tmp_path: Path, write: Any) -> None:
    common: dict[str, Any] = {"round": 1, "nets": ["G"], "bytes": 1}
    path = tmp_path / "events.jsonl"
    write(
        path,
        [
            ("a", VectorSent(peer="b", exchange="1", **common)),
            ("b", VectorReceived(peer="a", exchange="1", **common)),
            ("b", VectorSent(peer="a", exchange="2", **common)),
            ("a", VectorReceived(peer="b", exchange="2", **common)),
        ],
    )
    assert summarise(path).warnings == []


def test_nodes_on_their_own_need_not_be_reached(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "events.jsonl"
    write(path, [("a", NodeStarted()), ("b", NodeStarted())])
    summary = summarise(path)
    assert summary.warnings == []
    assert summary.scores == {}
    assert [node.rounds for node in summary.nodes] == [0, 0]


def test_an_empty_log_is_an_empty_run(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    summary = summarise(path)
    assert (summary.run, summary.nodes, summary.wall_s) == ("", [], 0)


def test_a_spoilt_log_is_an_error(run: RunDirectory) -> None:
    run.events.write_text("{}\n")
    with pytest.raises(RecordError, match="line 1"):
        summarise(run)


def test_the_summary_is_plain(run: RunDirectory) -> None:
    values = summarise(run).to_dict()
    again = msgspec.json.decode(to_json(values))
    assert again["nodes"][1]["traffic"]["sent"] == 2
    assert again["scores"]["fid"]["mean"] is None
    assert again["unaccounted"] == [{"exchange": "b2", "sender": "b", "receiver": "a", "round": 2}]


def test_traffic_counts_what_was_sent() -> None:
    kinds = {"mix": Tally(messages=4, payload_bytes=600)}
    assert traffic(messages=4, bytes_total=600, nodes=3, kinds=kinds) == {
        "messages": 4,
        "bytes_total": 600,
        "bytes_per_node": 200,
        "kinds": {
            "mix": {
                "direction": "node to node",
                "messages": 4,
                "payload_bytes": 600,
                "bytes": None,
            }
        },
    }
    assert traffic(messages=0, bytes_total=0, nodes=0, kinds={})["bytes_per_node"] == 0


def test_score_statistics_have_the_contracted_names() -> None:
    assert score_statistics([(10, 2), (20, 4)], samples=500) == {
        "fid": {"mean": 15, "std": 5, "min": 10, "max": 20, "samples": 500},
        "ms": {"mean": 3, "std": 1, "min": 2, "max": 4, "samples": 500},
    }
    assert score_statistics([], samples=500) == {}


def measured(value: float | None, round_: int = 2) -> Quality:
    """A quality whose every figure is `value`."""
    return Quality(
        round=round_,
        iterations=20 * round_,
        samples=100,
        compared=90,
        nearest_samples=80,
        histogram=[value, None if value is None else 1 - value],
        **dict.fromkeys(QUALITY_FIGURES, value),
    )


def test_quality_statistics_are_over_nodes() -> None:
    rows = {node: msgspec.structs.asdict(measured(value)) for node, value in (("a", 0), ("b", 1))}
    statistics = quality_statistics(rows)
    assert statistics.pop("histogram") == [0.5, 0.5]
    assert statistics.pop("nodes") == ["a", "b"]
    counts = [statistics.pop(name) for name in ("samples", "compared", "nearest_samples")]
    assert counts == [100, 90, 80]
    half = {"mean": 0.5, "std": 0.5, "min": 0, "max": 1}
    assert statistics == dict.fromkeys(QUALITY_FIGURES, half)


def test_the_last_quality_of_each_node_counts(run: RunDirectory, write: Any) -> None:
    assert summarise(run).quality is None
    late = [("a", measured(0.5, 1)), ("n10", measured(1)), ("n2", measured(0)), ("a", measured(0))]
    write(run.node_events("a"), late)
    quality = summarise(run.node_events("a")).quality
    assert quality is not None
    assert quality["nodes"] == ["a", "n2", "n10"]
    assert quality["fid"]["mean"] == pytest.approx(1 / 3)


def test_a_diverged_node_spoils_the_quality_of_all(run: RunDirectory, write: Any) -> None:
    write(run.node_events("a"), [("a", measured(0.5)), ("b", measured(None))])
    quality = summarise(run.node_events("a")).quality
    assert quality is not None
    assert math.isnan(quality["recall"]["mean"])
    assert all(math.isnan(share) for share in quality["histogram"])


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_spread_equals_numpys(values: list[float]) -> None:
    got = spread(values)
    assert (got.min, got.max) == (min(values), max(values))
    np.testing.assert_allclose(
        [got.mean, got.std], [np.mean(values), np.std(values)], rtol=1e-9, atol=1e-6
    )


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_one_number_that_is_none_spoils_the_spread(bad: float | None) -> None:
    """A mean over the nodes that did not diverge would look like a good run."""
    assert all(math.isnan(value) for value in msgspec.structs.astuple(spread([1.0, bad])))


def _after_a_last_step(*nodes: tuple[str, str | None, int]) -> list[tuple[str, Any]]:
    """Nodes of two rounds, what each has adopted, and in which round it was scored at last."""
    lines: list[tuple[str, Any]] = []
    for node, origin, round_ in nodes:
        lines.append((node, Scores(round=2, iterations=40, fid=3.0, ms=2.0, samples=20)))
        if origin is not None:
            lines += [
                (node, Agreed(origin=origin, votes=2)),
                (node, Scores(round=round_, iterations=40, fid=2.0, ms=2.0, samples=20,
                              after="agree")),
            ]  # fmt: skip
        lines.append((node, NodeStopped(reason="finished", iterations=40, rounds=2)))
    return lines


def test_who_was_not_there_at_the_last_step_is_named(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "events.jsonl"
    write(path, _after_a_last_step(("a", "b", 9), ("b", "b", 9), ("c", "c", 2), ("d", None, 0)))
    assert summarise(path).warnings == [
        "node `c` found nobody to take the last step with",
        "node `d` did not take the last step",
        "after the last step not all nodes hold the same pair: 2 that of `b`, 1 that of `c`",
    ]


def test_a_last_step_of_all_is_nothing_to_warn_of(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "events.jsonl"
    write(path, _after_a_last_step(("a", "b", 9), ("b", "b", 8)))
    assert summarise(path).warnings == []
