"""How fast vectors go from one node to another, against ZeroMQ alone with the same bytes.

    python -m tools.bench_exchange

Two processes over loopback. Ours goes through transport and host with all that a vector costs
there: the queue, the chunks with their checksums, credit, the search for NaN, the digest at both
ends, and an acknowledgment of each vector. ZeroMQ alone sends the same bytes in messages of the
same two frames, reads them, and answers each vector. Both have two vectors on their way.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np
import zmq

from p2pgan.daemon.transport import ControlRequest, Transport
from p2pgan.daemons import DaemonConfig
from p2pgan.node.host import Host, Surroundings
from p2pgan.node.jobs import Job
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Assembler, split
from p2pgan.protocol.messages import Chunk, Leave, VectorAck

MODEL_BYTES: Final = 4 * 1_377_000
"""Both networks of the MNIST MLP, roughly."""

CHUNK_BYTES: Final = DaemonConfig().chunk_bytes

UNDER_WAY: Final = 2
"""Vectors: one that comes, and one that follows it."""

ANY: Final = "tcp://127.0.0.1:*"


class Idle:
    """Nobody works here."""

    def give(self, job: Job) -> None:
        raise AssertionError(f"a job: {job}")

    def stop_training(self) -> None:
        raise AssertionError("nobody trains")


def surroundings(transport: Transport) -> Surroundings:
    """A host's, with sockets and nothing else."""
    return Surroundings(
        network=transport,
        worker=Idle(),
        timers={},
        record=lambda record: None,
        clock=time.monotonic,
        chunk_bytes=CHUNK_BYTES,
    )


def turn(transport: Transport, host: Host) -> None:
    """As the loop of a daemon."""
    host.feed(event for event in transport.poll(1.0) if not isinstance(event, ControlRequest))


@dataclass
class Sender:
    """Decides to send so many vectors, two at a time; times the way from the first to the last
    acknowledgment."""

    count: int
    data: bytes
    sent: int = 0
    acknowledged: int = 0
    begun_s: float = 0.0

    def handle(self, event: ev.Event, now: float) -> list[do.Instruction]:
        """As `Machine.handle`."""
        match event:
            case ev.LinkUp():
                self.begun_s = now
                return [self._next() for _ in range(min(UNDER_WAY, self.count))]
            case ev.Answered(message=VectorAck() as ack):
                assert ack.accepted, ack.reason
                self.acknowledged += 1
                if self.acknowledged == self.count:
                    return [do.Send(peer="b", message=Leave(clock=1)), do.Close(reason="done")]
                return [self._next()] if self.sent < self.count else []
        return []

    def _next(self) -> do.Instruction:
        self.sent += 1
        exchange = f"a.boot.{self.sent}"
        # Of different purposes, so that none takes the place of another.
        purpose: Any = ("mix", "average")[self.sent % 2]
        return do.SendVector(
            peer="b",
            exchange=exchange,
            nets=("G", "D"),
            round=1,
            clock=1,
            purpose=purpose,
            data=self.data,
        )


@dataclass
class Receiver:
    """Takes vectors, and says so."""

    coming: Assembler | None = None
    taken: list[int] = field(default_factory=list)

    def handle(self, event: ev.Event, now: float) -> list[do.Instruction]:
        """As `Machine.handle`."""
        del now
        match event:
            case ev.Received(message=Chunk() as chunk):
                self.coming = self.coming or Assembler("a", chunk, expected_bytes=chunk.total_bytes)
                arrival = self.coming.add(chunk, event.payload, finite=event.finite)
                if arrival is None:
                    return []
                self.coming = None
                self.taken.append(len(arrival.data))
                ack = VectorAck(clock=1, exchange=arrival.exchange, accepted=True)
                return [do.Reply(route=event.route, message=ack)]
            case ev.Received(message=Leave()):
                return [do.Close(reason="done")]
        return []


def receive_ours(told: Connection) -> None:
    """One end of ours."""
    transport = Transport(ANY, {})
    told.send(transport.address)
    host = Host(Receiver(), surroundings(transport))
    while host.ended is None:
        turn(transport, host)
    transport.close()


def send_ours(address: str, count: int, data: bytes) -> float:
    """The other end; seconds."""
    transport = Transport(ANY, {"b": address})
    sender = Sender(count, data)
    host = Host(sender, surroundings(transport))
    while host.ended is None:
        turn(transport, host)
    took_s = time.monotonic() - sender.begun_s
    transport.close()
    return took_s


def receive_plain(told: Connection) -> None:
    """One end of ZeroMQ alone: each vector is answered when as many bytes have come."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(ANY)
        endpoint = router.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        told.send(endpoint.rstrip(b"\0").decode())
        came = 0
        while True:
            route, _, payload = router.recv_multipart()
            if not payload:
                return
            came += len(payload)
            if came == MODEL_BYTES:
                came = 0
                router.send_multipart([route, b"taken"])


def send_plain(address: str, count: int, data: bytes) -> float:
    """The other end; seconds."""
    order = do.SendVector(peer="b", exchange="a.boot.1", nets=("G", "D"), round=1, clock=1)
    view, frames = memoryview(data), []
    for chunk, _ in split(data, order, chunk_bytes=CHUNK_BYTES):
        frames.append((bytes(150), view[chunk.begin : chunk.end]))
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.connect(address)
        begun_s = time.monotonic()
        for number in range(count):
            if number >= UNDER_WAY:
                dealer.recv()
            for frame in frames:
                dealer.send_multipart(frame)
        for _ in range(min(UNDER_WAY, count)):
            dealer.recv()
        took_s = time.monotonic() - begun_s
        dealer.send_multipart([b"end", b""])
    return took_s


Receive = Callable[[Connection], None]
Send = Callable[[str, int, bytes], float]


def rate(receive: Receive, send: Send, count: int) -> float:
    """Bytes a second."""
    data = np.random.default_rng(0).standard_normal(MODEL_BYTES // 4).astype("<f4").tobytes()
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=receive, args=(there,))
    process.start()
    try:
        took_s = send(here.recv(), count, data)
    finally:
        process.join(10.0)
    return count * MODEL_BYTES / took_s


def main() -> None:
    """Takes turns, and tells the medians."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench_exchange")
    parser.add_argument("--vectors", type=int, default=200, help="of a repetition (default: 200)")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (default: 5)")
    asked = parser.parse_args()
    ours, plain = [], []
    for _ in range(asked.repeat):
        plain.append(rate(receive_plain, send_plain, asked.vectors))
        ours.append(rate(receive_ours, send_ours, asked.vectors))
        print(f"ZeroMQ alone {plain[-1] / 1e6:,.0f} MB/s, ours {ours[-1] / 1e6:,.0f} MB/s")
    shares = [our / raw for our, raw in zip(ours, plain, strict=True)]
    print(
        f"medians: {statistics.median(plain) / 1e6:,.0f} and {statistics.median(ours) / 1e6:,.0f} "
        f"MB/s; share {statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
    )


if __name__ == "__main__":
    main()
