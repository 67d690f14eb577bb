"""A node's story can be read, and the trace of a run is equal for equal runs."""

import hashlib
from pathlib import Path

import pytest
import torch

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.sim.virtual.outages import Outage
from p2pgan.sim.virtual.story import STORY_EVENTS, TRACE_LINES, Story, Trace
from p2pgan.sim.virtual.trial import trial
from p2pgan.sim.virtual.world import Moment
from tests.sim.virtual.trials import Recorded


def moment_of(number: int) -> Moment:
    return Moment(
        now=number / 3,
        node="a",
        incarnation=1,
        event=ev.TimerFired(name=f"t{number}"),
        instructions=[do.Train(iterations=number)],
    )


def test_a_story_tells_the_last_events_and_what_befell_a_node() -> None:
    story = Story()
    for number in range(STORY_EVENTS):
        story.add(moment_of(number))
    outage = Outage(kind="freeze", nodes=frozenset("a"), from_s=9.5, to_s=11.0)
    story.befell(9.5, outage, "begins")
    lines = story.of("a").splitlines()
    assert lines[0] == f"the last {STORY_EVENTS} events of `a`:"
    assert "t0" not in story.of("a")
    assert "0.333333 s  #1  TimerFired(name='t1') -> Train(iterations=1)" in lines[1]
    assert lines[-1].split() == ["9.500000", "s", "freeze", "begins"]
    assert story.of("b") == "the last 0 events of `b`:"


def test_a_story_names_messages_and_exchanges_and_keeps_no_vectors(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path).until(30.0)
    told = recorded.checkers.story.of("0")
    assert "Received(1>0#1, Hello) -> Reply(1>0#1, Welcome)" in told
    assert "SendVector(" in told
    assert "VectorAck 0.00000001.1 accepted" in told
    assert "Chunk 1.00000001." in told
    assert "payload" not in told
    assert "digest" not in told


def test_a_trace_is_the_digest_of_its_lines() -> None:
    trace, lines = Trace(), []
    for number in range(TRACE_LINES + 7):
        trace.add(moment_of(number))
        lines.append(f"{round(number / 3, 9)!r} a 1 TimerFired t{number}\n")
    assert trace.events == TRACE_LINES + 7
    assert trace.digest() == hashlib.blake2b("".join(lines).encode(), digest_size=16).hexdigest()
    assert trace.digest() == trace.digest()


def test_a_trace_knows_what_came(tmp_path: Path) -> None:
    """One exchange instead of another is another trace."""
    heard = [one for one in Recorded(tmp_path).until(30.0).moments if "vector_received" in str(one)]
    traces = [Trace(), Trace()]
    for trace, moment in zip(traces, heard[:2], strict=True):
        at_once = Moment(
            now=1.0, node="a", incarnation=1, event=moment.event, instructions=moment.instructions
        )
        trace.add(at_once)
    assert traces[0].digest() != traces[1].digest()


@pytest.mark.parametrize("seed", [3, 7])
def test_a_seed_is_one_trace_on_any_number_of_threads(seed: int) -> None:
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            results.append(trial(seed, nodes=12))
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1] == results[2]
    assert results[0].events > 100
    assert trial(seed + 1, nodes=12).trace != results[0].trace
