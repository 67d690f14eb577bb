"""Runs with a coordinator in which much goes wrong, in any order."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pgan.protocol import events as ev
from p2pgan.protocol.chunks import digest_of
from p2pgan.protocol.messages import (
    PROTOCOL_VERSION,
    Assign,
    Chunk,
    Done,
    Expect,
    Hello,
    Holding,
    Leave,
    LeaveAck,
    Message,
    Move,
    Release,
    VectorAck,
    Welcome,
)

StarOf = Callable[..., Any]

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def quiet_steps(star: Any, count: int) -> None:
    steps = iter(range(count))
    star.settle(until=lambda: next(steps, None) is None)


def disturb(star: Any, data: st.DataObject) -> None:
    """One thing that goes wrong."""
    kinds = ["down", "down", "down", "timer", "freeze", "thaw", "late", "restart", "stop", "kill"]
    what = data.draw(st.sampled_from(kinds))
    node = data.draw(st.sampled_from(sorted(star.members)))
    living = [name for name in star.names if star.members[name].close is None]
    up = [key for key, c in star.connections.items() if c.is_up and node in key]
    if what == "down" and up and not star.frozen:
        star.take(("down", *data.draw(st.sampled_from(up))))
    elif what == "timer":
        # The wait for somebody who is not there has its own test: it would end any run.
        due = [timer for timer in star.timers() if timer[2] != "alone"]
        if due:
            star.take(due[0])
    elif what == "freeze" and node != "coordinator":
        star.frozen.add(node)
    elif what == "thaw":
        star.frozen.clear()
    elif what in ("kill", "stop") and node in living and len(living) > 1:
        if what == "kill":
            star.kill(node)
        elif star.members[node].phase != "idle":
            star.tell(node, ev.StopRequested())
        star.frozen.discard(node)
    elif what == "late":
        for name in star.names:
            if star.members[name].phase == "idle":
                star.start(name)
    elif what == "restart":
        again(star, data)


def again(star: Any, data: st.DataObject) -> None:
    """The coordinator dies, and is started again from its last checkpoint."""
    member: Any = star.coordinator
    if member.close is None and member.phase not in ("saving", "leaving"):
        if data.draw(st.booleans()):
            star.kill("coordinator")
        else:
            star.tell("coordinator", ev.StopRequested())
            star.settle(until=lambda: star.coordinator.close is not None)
        end: Any = member.close
        if end.reason in ("killed", "stopped"):
            star.restart("coordinator", (member.states or [b""])[-1])


@pytest.mark.parametrize("system", ["fl", "sync", "async"])
@QUICK
@given(data=st.data())
def test_whatever_happens_the_run_ends_and_the_accounts_are_right(
    star_of: StarOf, system: str, data: st.DataObject
) -> None:
    """Frozen workers end at last, by the coordinator's patience or by being thawed."""
    workers = data.draw(st.integers(1, 4), label="workers")
    slots = data.draw(st.integers(1, workers), label="slots")
    star = star_of(
        workers,
        system,
        slots=slots,
        seed=data.draw(st.integers(0, 2**32 - 1)),
        wait_s=5.0,
        alone_s=1000.0,
        iterations=data.draw(st.integers(1, 9)),
    )
    absent = data.draw(st.integers(0, workers - 1))
    star.start("coordinator", *star.names[absent:])
    was_alone = False
    for _ in range(data.draw(st.integers(0, 12), label="disturbances")):
        quiet_steps(star, data.draw(st.integers(0, 60)))
        disturb(star, data)
        awake = [star.members[name] for name in star.names if name not in star.frozen]
        was_alone |= not any(m.close is None and m.phase != "idle" for m in awake)
    star.frozen.clear()
    for name in star.names:
        if star.members[name].phase == "idle":
            star.start(name)
    star.settle()
    star.check_closed()
    star.check_accounts()
    ends = ["finished", "stopped"]
    if was_alone:
        ends.append("alone")
    assert star.coordinator.close.reason in ends


SIZES = (12, 24, 32)
small = st.integers(0, 5)
nodes = st.sampled_from(["coordinator", "w0", "w1", "w9"])
chunks = st.builds(
    lambda size, **said: Chunk(
        clock=1, begin=0, end=size, total_bytes=size, digest=digest_of(bytes(size)), **said
    ),
    size=st.sampled_from(SIZES),
    exchange=st.sampled_from(["w1.*.", "coordinator.*."]).flatmap(
        lambda stem: st.integers(1, 99).map(lambda counter: f"{stem}{counter}")
    ),
    nets=st.sampled_from([(), ("D",), ("G", "D")]),
    round=st.one_of(small, st.just(2**62)),
    purpose=st.sampled_from(["model", "update", "batches", "feedback", "move", "mix", "adopt"]),
    slot=st.one_of(small, st.just(2**62)),
    number=small,
)
messages = st.one_of(
    chunks,
    chunks,
    st.builds(Assign, clock=small, slot=small, order=small),
    st.builds(
        Move, clock=small, slot=small, to=nodes, keep=st.booleans(), round=small, order=small
    ),
    st.builds(Expect, clock=small, slot=small, sender=nodes, round=small, order=small),
    st.builds(Release, clock=small, order=small),
    st.builds(Holding, clock=small, slot=st.one_of(st.none(), small), order=small),
    st.just(Done(clock=1)),
    st.builds(Leave, clock=small),
    st.builds(LeaveAck, clock=small),
    st.builds(Welcome, clock=small, node=nodes, boot=nodes, round=small),
    st.builds(VectorAck, clock=small, exchange=nodes, accepted=st.booleans()),
    st.builds(
        Hello,
        clock=small,
        protocol=st.just(PROTOCOL_VERSION),
        run=st.just("run"),
        node=nodes,
        architecture=st.sampled_from(["same", "other"]),
        boot=nodes,
    ),
)


@pytest.mark.parametrize("system", ["fl", "sync", "async"])
@pytest.mark.parametrize("target", ["coordinator", "w0"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_nothing_that_a_peer_says_raises(
    star_of: StarOf, system: str, target: str, data: st.DataObject
) -> None:
    """Out of turn, contradicting itself, in the name of others; what is held stays bounded."""
    star = star_of(2, system, seed=data.draw(st.integers(0, 99)), iterations=40)
    star.start()
    quiet_steps(star, data.draw(st.integers(0, 60)))
    talk = data.draw(st.lists(st.tuples(messages, st.booleans(), st.integers(0, 3)), max_size=40))
    for message, is_answer, pause in talk:
        say(star, target, message, is_answer=is_answer)
        quiet_steps(star, pause)
        assert star.members[target].machine.statistics().held_bytes <= 40 * max(SIZES)


def say(star: Any, target: str, message: Message, *, is_answer: bool) -> None:
    """The target hears it from a peer that it has welcomed, if there is one."""
    neighborhood = star.members[target].machine._neighborhood
    routes = sorted(neighborhood.routes)
    if is_answer:
        peer = sorted(neighborhood.links)[-1]
        star.tell(target, ev.Answered(peer=peer, message=message))
    elif routes:
        route = routes[-1]
        payload = b""
        if isinstance(message, Chunk):
            link = neighborhood.links[neighborhood.routes[route]]
            _, _, counter = message.exchange.rpartition(".")
            name = f"{link.peer}.{(link.boot or '')[:8]}.{counter}"
            message = msgspec.structs.replace(message, exchange=name)
            payload = bytes(message.total_bytes)
        star.tell(target, ev.Received(route=route, message=message, payload=payload))
