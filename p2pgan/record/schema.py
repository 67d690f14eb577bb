"""What a line of the log holds: the fields that every record has, and the body of each kind.

One JSON object a line, one schema for daemons and simulator. A body holds its own fields only; the
writer adds the envelope. A field of value `None` does not apply and is left out of the line; a
number that is not finite (a diverged loss, say) is written as `null` and read back as `None`.

`docs/reference/records.md` is generated from this file, field descriptions included.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from p2pgan.types import Net

SCHEMA = "1.0"
"""Major and minor version of the log. A new field or kind raises the minor one."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What every record has."""

    schema: str
    """Version of the log, major.minor. A reader refuses a major version it does not know."""
    kind: str
    """What happened: one of the kinds below."""
    run: str
    """Name of the run, the same in the logs of all its nodes."""
    node: str
    """Id of the node that saw it happen; empty for the run as a whole."""
    seq: int
    """Number of the record among those of its node in its file, from 0; a gap means lost ones."""
    wall: Annotated[datetime, msgspec.Meta(tz=True)]
    """Wall-clock time, UTC, ISO 8601."""
    time_s: float
    """Seconds on the run's own clock: monotonic in daemons, virtual in the simulator."""
    clock: int
    """Lamport clock of the node; 0 where nothing keeps one."""


def _kind_of(class_name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name).lower()


class Body(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag=_kind_of
):
    """Base of all bodies. Defaults are `None` throughout, so leaving them out loses nothing."""


class RunStarted(Body, frozen=True, kw_only=True):
    """A run began; the first record of its log."""

    config: dict[str, Any]
    """The resolved configuration, as in `run.toml`."""
    versions: dict[str, str]
    """Version of p2pgan, of Python and of the libraries that decide the numbers."""
    commit: str | None = None
    """Commit of the source tree, where there is one."""
    time: Literal["virtual"] | None = None
    """What `time_s` counts, where it is not real time, and nodes do not step together."""
    is_anew: bool | None = None
    """Whether a node was to go on in this log, and has found no checkpoint to go on from."""


class NodeStarted(Body, frozen=True, kw_only=True):
    """A node is up."""

    pid: int | None = None
    """Process id (daemons)."""
    address: str | None = None
    """Where its peers reach it (daemons)."""
    control: str | None = None
    """Where `p2pgan node status` reaches it (daemons)."""


class NodeStopped(Body, frozen=True, kw_only=True):
    """A node ended in good order. A log without it belongs to a node that runs, or was killed."""

    reason: str
    """Why: `finished`, `interrupted`, …"""
    iterations: int
    """Iterations that it trained."""
    rounds: int
    """Rounds that it finished."""


class NodeDegraded(Body, frozen=True, kw_only=True):
    """A node's work shows no sign of life, or shows one again; the node answers all the same."""

    is_degraded: bool
    """Whether it hangs from here on."""


class PeerJoined(Body, frozen=True, kw_only=True):
    """A peer was accepted after its handshake."""

    peer: str
    """Id of the peer."""


class PeerSuspected(Body, frozen=True, kw_only=True):
    """A peer has been silent for too long, and may be gone."""

    peer: str
    """Id of the peer."""
    by: str | None = None
    """Who said so first: the node of this record, or whom it heard it from."""


class PeerRecovered(Body, frozen=True, kw_only=True):
    """A peer that was suspected, or taken for dead, is there after all, or again."""

    peer: str
    """Id of the peer."""
    state: Literal["suspect", "dead"]
    """What it was taken for."""


class PeerDegraded(Body, frozen=True, kw_only=True):
    """A peer answers, but does not get on with its training; or does so again."""

    peer: str
    """Id of the peer."""
    is_degraded: bool
    """What it says of itself from now on."""


class PeerLost(Body, frozen=True, kw_only=True):
    """A peer is no longer counted as there."""

    peer: str
    """Id of the peer."""
    reason: str
    """Why: `left`, `silent`, …"""


class PeerRefused(Body, frozen=True, kw_only=True):
    """A handshake failed. Both sides record it, with the same reason."""

    peer: str
    """Id that the other side gave."""
    reason: str
    """What did not agree."""
    by: Literal["us", "them"]
    """Who refused: the node of this record (`us`) or the peer (`them`)."""


class OverlayChanged(Body, frozen=True, kw_only=True):
    """The overlay as it is from here on; `overlay.json` holds the first one in full."""

    nodes: int
    """Number of nodes."""
    edges: int
    """Number of edges."""
    spectral_gap: float | None = None
    """Of its Metropolis–Hastings matrix; larger mixes faster."""


class _Vector(Body, frozen=True, kw_only=True):
    """What all records of a vector on its way share."""

    peer: str
    """The other end: the receiver for its sender, the sender for its receiver."""
    round: int
    """Round in which the sender sent it."""
    nets: list[Net]
    """Networks that it carries."""
    exchange: str
    """Id of this vector on its way, the same at both ends and unique in the run."""
    purpose: str | None = None
    """What it is for, where it is not for gossip: `mass`, `pair`, `answer`, `model`, `update`,
    `move`, …"""
    staleness_rounds: int | None = None
    """Receiver's round less `round`; negative if the sender is ahead."""
    weight: float | None = None
    """Share of the vector in what the receiver mixes, in [0, 1]."""


class VectorSent(_Vector, frozen=True, kw_only=True):
    """A vector was handed to the network."""

    bytes: int
    """Size of the vector as sent, headers not counted."""


class VectorReceived(_Vector, frozen=True, kw_only=True):
    """A vector arrived whole and was accepted."""

    bytes: int
    """Size of the vector as sent, headers not counted."""


class VectorMixed(_Vector, frozen=True, kw_only=True):
    """A received vector went into the node's own networks."""

    bytes: int | None = None
    """Size of the vector as sent, headers not counted."""


class VectorJudged(_Vector, frozen=True, kw_only=True):
    """A received pair was scored on the node's own shard, which is its vote (`final = "agree"`)."""

    score: float
    """FID against images of the shard; 1e9 for a pair that has diverged."""
    bytes: int | None = None
    """Size of the vector as sent, headers not counted."""


class VectorDropped(_Vector, frozen=True, kw_only=True):
    """A vector was given up, by its sender on the way or by its receiver."""

    reason: str
    """Why it was not used."""
    bytes: int | None = None
    """Size of the vector as sent, headers not counted; left out where it is not known."""


class Tally(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Messages of one kind, counted."""

    messages: int
    """Whole ones: a vector in many chunks is one."""
    payload_bytes: int
    """Of their vectors, images or feedback, headers not counted."""
    bytes: int | None = None
    """Of all frames that ZeroMQ was given or gave, headers included and routes left out, which do
    not travel; left out where nothing was sent over a network."""


class Traffic(Body, frozen=True, kw_only=True):
    """What a node has sent and received since its last such record, or its start."""

    round: int
    """Rounds finished."""
    sent: dict[str, Tally]
    """By kind of message: what a vector is for (`mix`, `mass`, `pair`, `answer`, `judge`, `adopt`,
    `average`, `model`, `update`, `batches`, `feedback`, `move`), or the name of a message without
    one (`hello`, …)."""
    received: dict[str, Tally]
    """By kind of message, as `sent`."""


class RoundFinished(Body, frozen=True, kw_only=True):
    """A node trained, exchanged and mixed once more."""

    round: int
    """Number of the round, from 1."""
    iterations: int
    """Iterations of the node so far."""
    loss_d: float | None = None
    """Mean discriminator loss over the round's iterations, its class terms and penalty included."""
    loss_g: float | None = None
    """Mean generator loss over the round's iterations, its class term included."""
    train_s: float | None = None
    """Seconds of training in the round."""
    exchange_s: float | None = None
    """Seconds of exchanging and mixing in the round, where it is known."""


class Agreed(Body, frozen=True, kw_only=True):
    """The last step is over, and the node has adopted a pair (`final = "agree"`)."""

    origin: str
    """Node that has trained the pair."""
    votes: int
    """Votes for it that the node knows of."""
    merit: float | None = None
    """What an average judge would give it, by all votes; lower is better."""


class Scores(Body, frozen=True, kw_only=True):
    """The node's generator was scored."""

    round: int
    """Rounds finished."""
    iterations: int
    """Iterations of the node so far."""
    fid: float | None = None
    """Fréchet distance between the scorer's features of real and generated images; lower is
    better."""
    ms: float | None = None
    """The Inception score by the data set's own scorer; higher is better."""
    samples: int
    """Generated images. FID depends on it: compare equal numbers only."""
    after: Literal["agree", "average"] | None = None
    """The last step that lies between these scores and the training."""


class Quality(Body, frozen=True, kw_only=True):
    """The node's generator was measured thoroughly, at the end of the run."""

    round: int
    """Rounds finished."""
    iterations: int
    """Iterations of the node so far."""
    samples: int
    """Generated images of FID, MS and the classes."""
    fid: float | None = None
    """As in `scores`, on `samples` images."""
    ms: float | None = None
    """As in `scores`, on `samples` images."""
    compared: int
    """Images of each side in precision and recall."""
    precision: float | None = None
    """Share of generated images that look like test images, in [0, 1]."""
    recall: float | None = None
    """Share of test images that look like generated images, in [0, 1]."""
    classes: float | None = None
    """Number of classes that at least one generated image in 1,000 belongs to, by the scorer."""
    class_kl: float | None = None
    """KL divergence of the histogram from the shares of the training labels, in nats; 0 if every
    class has its share."""
    nearest: float | None = None
    """Mean Euclidean distance to the nearest training image, over the pixels in [-1, 1]."""
    nearest_samples: int
    """Generated images of `nearest`."""
    histogram: list[float | None]
    """Share of the generated images in each class, by the scorer."""


class Consensus(Body, frozen=True, kw_only=True):
    """How far the nodes' networks are from their mean: `sqrt(1/n Σ ‖x_i - x̄‖²)`."""

    round: int
    """Rounds finished."""
    iterations: int | None = None
    """Iterations of each node so far, where they agree."""
    g: float | None = None
    """Of the generators."""
    d: float | None = None
    """Of the discriminators."""


class CheckpointSaved(Body, frozen=True, kw_only=True):
    """The node's networks are on disk."""

    path: str
    """File, relative to the run directory where it lies in it."""
    iterations: int
    """Iterations of the node so far."""


class CheckpointFailed(Body, frozen=True, kw_only=True):
    """The node could not save, and goes on, or at its end tries again; what it saved before is
    still there."""

    reason: str
    """What the disk said."""


class CheckpointRestored(Body, frozen=True, kw_only=True):
    """The node goes on from what it has saved."""

    path: str
    """File that they were read from."""
    iterations: int
    """Iterations that the node had trained when they were saved."""


class FaultInjected(Body, frozen=True, kw_only=True):
    """The simulator or a test broke something on purpose."""

    fault: str
    """What was broken: `crash`, `delay`, `partition`, …"""
    peer: str | None = None
    """The other end, where the fault is on an edge."""
    detail: str | None = None
    """How, in words."""


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """A kind that this version does not know, from a newer minor version of the log."""

    raw: dict[str, Any]
    """The whole line."""


AnyBody = (
    RunStarted
    | NodeStarted
    | NodeStopped
    | NodeDegraded
    | PeerJoined
    | PeerSuspected
    | PeerRecovered
    | PeerDegraded
    | PeerLost
    | PeerRefused
    | OverlayChanged
    | VectorSent
    | VectorReceived
    | VectorMixed
    | VectorJudged
    | VectorDropped
    | Traffic
    | RoundFinished
    | Agreed
    | Scores
    | Quality
    | Consensus
    | CheckpointSaved
    | CheckpointFailed
    | CheckpointRestored
    | FaultInjected
)
"""Every body of this version."""


def kind_of(body: type[Body]) -> str:
    """The `kind` that a class of bodies is written under."""
    tag = body.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


KINDS: dict[str, type[Body]] = {kind_of(body): body for body in AnyBody.__args__}
"""Body of each kind, in the order of the reference page."""


class Record(Envelope, frozen=True, kw_only=True):
    """One line of the log, as read."""

    body: AnyBody | Unknown

    def to_dict(self) -> dict[str, Any]:
        """The line as plain values, fields that do not apply left out."""
        if isinstance(self.body, Unknown):
            return dict(self.body.raw)
        fields: dict[str, Any] = msgspec.to_builtins(self)
        body = fields.pop("body")
        return {**fields, **body}


def _plain(value: object) -> object:
    """numpy's own float and text, which pass for Python's in every type check."""
    for kind in (float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{type(value).__name__} does not belong in a record")


encode = msgspec.json.Encoder(enc_hook=_plain).encode
"""JSON on one line, as bytes; numbers that are not finite become `null`."""
