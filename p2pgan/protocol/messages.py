"""What peers say to each other: a closed union of small typed structs.

A message is only ever decoded into this union, so that no type name on the wire picks a class, and
nested garbage costs nothing. Unknown fields are ignored (a newer peer may send more); every text
and number has a bound, each bound a name and a reason.

    dealer (we called them)                     router (they called us)
    Hello, Chunk, Trained, Waits,
    Votes, Holding, Assign, Move,
    Expect, Release, Done,
    Fetch, Inquire, Leave, LeaveAck    ->
                                       <-       Welcome, Refuse, Credit, VectorAck, Invitation,
                                                Leave, LeaveAck
    Ping, Pong, Ask, Rumors           <-->      (either way)
"""

from typing import Annotated, Final, Literal

import msgspec

from p2pgan.types import MOST_WEIGHT, Net

PROTOCOL_VERSION: Final = 5
"""Raised by every change that an older peer would misread."""

MAX_NAME_CHARS: Final = 128
"""Ids of nodes, runs and boots: a host name with a port fits, a screenful does not."""

MAX_EXCHANGE_CHARS: Final = MAX_NAME_CHARS + 64
"""A node's id, eight characters of its boot, a counter of up to nineteen digits, two dots."""

MAX_TEXT_CHARS: Final = 500
"""Explanations for people: a line or two in a terminal."""

MAX_VECTOR_BYTES: Final = 2**31
"""Half a thousand million float32 parameters, far above any GAN here; a receiver's own limit is the
exact size that its layout expects."""

MAX_CHUNK_BYTES: Final = 524_288
"""Upper end of `daemon.chunk_bytes`; with the header it stays below the transport's 1 MiB."""

DIGEST_BYTES: Final = 16
"""XXH3-128."""

MAX_NETS: Final = 2
"""A vector carries G, D or both."""

MAX_COUNT: Final = 2**62
"""Rounds, clocks and sizes: fits a signed 64-bit integer with room to add."""

MAX_SCORE: Final = 1e9
"""What a diverged pair of networks is given."""

MAX_LISTED: Final = 256
"""Names or votes in one message; more go into several."""

MAX_ADDRESS_CHARS: Final = 256
"""`tcp://`, a port, and a host name that is nearly as long as the 253 characters of the DNS."""

MAX_RUMORS: Final = 8
"""Members in one message; fewer, where a header would not hold their texts."""

MAX_DOUBTERS: Final = 3
"""Names of those who suspect a member: the first, and two who confirm it."""

MAX_INVITATION_BYTES: Final = 6_000
"""Of one part: with the other fields it stays below the bound of a header."""

TABLE_DIGEST_BYTES: Final = 8
"""Of a table of members: tells whether two tables are the same, and proves nothing."""

NET_WORD_BYTES: Final = 4
"""A float32; no chunk cuts one in two."""

# `\Z`, not `$`, which would let a trailing newline through.
_PRINTABLE: Final = r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*\Z"
"""Peers' text reaches terminals: no control characters, no change of writing direction."""

_ADDRESS: Final = r"\A(|tcp://[!-~]+:[0-9]{1,5}|ipc://[!-~]+)\Z"
"""Nothing that ZeroMQ would have to guess about."""

Nets = tuple[Net, ...]
"""Networks that travel together in one vector, in this order."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS, pattern=_PRINTABLE)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS, pattern=_PRINTABLE)]
Address = Annotated[str, msgspec.Meta(max_length=MAX_ADDRESS_CHARS, pattern=_ADDRESS)]
ExchangeId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=MAX_EXCHANGE_CHARS, pattern=_PRINTABLE)
]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Score = Annotated[float, msgspec.Meta(ge=0, le=MAX_SCORE)]
Ballot = tuple[Name, Name, Score]
"""Origin, judge and score of a vote."""

Purpose = Literal[
    "mix",
    "mass",
    "pair",
    "answer",
    "average",
    "judge",
    "adopt",
    "model",
    "update",
    "batches",
    "feedback",
    "move",
    "gift",
]
"""What a vector is sent for. `mix`, `average`: to be averaged with the receiver's, during the
training or after it. `mass`: as `mix`, with a weight that must not be lost. `pair`, `answer`: a
node and a peer that it has asked move towards each other. `judge`, `adopt`: to be scored on its
shard, or to take the place of its pair if it is better. FL-GAN: `model`, the coordinator's networks
for a round, and `update`, what a worker made of them. MD-GAN: `batches`, two batches of generated
images, `feedback`, what a discriminator says of one of them, and `move`, a discriminator on its way
to another worker. `gift`: a member's networks for one that has just come, to begin with."""

MemberState = Literal["alive", "suspect", "dead", "left"]
"""What is believed of a member: it answers; it has not answered, and may refute it; it is gone; it
has said that it goes."""

RefusalCode = Literal[
    "protocol",
    "run",
    "architecture",
    "identity_taken",
    "own_address",
    "not_neighbor",
    "wrong_node",
    "leaving",
    "faults",
]
"""Why a handshake fails. `protocol`, `run`, `architecture`: the two do not agree on it.
`identity_taken`: another process goes by that node's id. `own_address`: the node has called itself.
`not_neighbor`: the overlay has no such edge. `wrong_node`: another node answers at the address.
`leaving`: the node is about to stop. `faults`: too many malformed messages. On the wire it is plain
text, since a newer peer may have more reasons."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    clock: Count
    """Lamport clock of the sender when it sent."""


class Member(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What is known of a member of the run. Newer is what has the higher incarnation, then the
    later state, in the order of `MemberState`."""

    node: Name
    boot: Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS, pattern=_PRINTABLE)] = ""
    """Of its process; empty: nobody has met it."""
    address: Address = ""
    """Where others reach it; empty: not known."""
    incarnation: Count = 0
    """Raised by the member alone, when it comes back or refutes what is said of it."""
    since: Count = 0
    """0: the overlay file has it. Others came later, in this order, equal ones in that of ids."""
    state: MemberState = "alive"
    by: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_DOUBTERS)] = ()
    """Who suspects it, each on its own; of more than these the first by name."""


Rows = Annotated[tuple[Member, ...], msgspec.Meta(max_length=MAX_RUMORS)]
TableDigest = Annotated[bytes, msgspec.Meta(max_length=TABLE_DIGEST_BYTES)]


class Hello(_Message, frozen=True, kw_only=True, tag="hello"):
    """The first message on a link: who calls, and what both must agree on."""

    protocol: Annotated[int, msgspec.Meta(ge=0, le=65_535)]
    run: Name
    node: Name
    architecture: Name
    """Digest of everything that must be equal for vectors to be mixed."""
    boot: Name
    """Random for each start of a node: tells a restarted node from a second one."""
    address: Address = ""
    incarnation: Count = 0
    since: Count = 0
    """As in `Member`; what the caller says of itself."""


class Welcome(_Message, frozen=True, kw_only=True, tag="welcome"):
    """The answer to a `Hello` that agrees; from now on vectors are taken."""

    node: Name
    boot: Name
    round: Count
    incarnation: Count = 0
    """As in `Member`."""


class Refuse(_Message, frozen=True, kw_only=True, tag="refuse"):
    """The answer to a `Hello` that does not, or the end of a link after too many faults."""

    node: Name
    code: Name
    text: Text


class Chunk(_Message, frozen=True, kw_only=True, tag="chunk"):
    """A piece of a vector; its bytes are the second frame.

    Every chunk repeats what it belongs to, so that one that lost its fellows explains itself.
    """

    exchange: ExchangeId
    nets: Annotated[Nets, msgspec.Meta(max_length=MAX_NETS)]
    """Networks that it carries; none where it carries images or what is said of them."""
    round: Count
    """The sender's round; of batches and feedback the global iteration."""
    begin: Count
    end: Annotated[int, msgspec.Meta(ge=1, le=MAX_VECTOR_BYTES)]
    """Where its bytes lie in the vector; `end` is behind the last one."""
    total_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_VECTOR_BYTES)]
    digest: Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
    """XXH3-128 of the whole vector."""
    purpose: Purpose = "mix"
    origin: Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS, pattern=_PRINTABLE)] = ""
    """Who has trained the networks; empty where they are to be mixed."""
    slot: Count = 0
    """Number of the discriminator that batches, feedback or a move belong to, from 0."""
    number: Count = 0
    """Adam's steps so far of a discriminator that moves; images that an update rests on."""
    weight: Annotated[float, msgspec.Meta(ge=0, le=MOST_WEIGHT)] = 0.0
    """How much its networks count, where weights travel with them; 0 where none do."""
    answers: Annotated[str, msgspec.Meta(max_length=MAX_EXCHANGE_CHARS, pattern=_PRINTABLE)] = ""
    """Exchange id of the vector that this one answers; empty where it answers none."""
    asks: bool = False
    """Whether the sender wants to be told, by a `Credit`, that it has come."""

    @property
    def is_last(self) -> bool:
        """Whether a vector is whole with it."""
        return self.end == self.total_bytes


class VectorAck(_Message, frozen=True, kw_only=True, tag="vector_ack"):
    """A vector arrived whole, and was accepted or dropped."""

    exchange: ExchangeId
    accepted: bool
    reason: Text = ""
    """Why it was dropped."""


class Credit(_Message, frozen=True, kw_only=True, tag="credit"):
    """So much of a vector has come: more may be sent. It is the shells' talk, of which machines
    hear nothing: its clock is that of the chunk that asked."""

    exchange: ExchangeId
    bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_VECTOR_BYTES)]
    """From its beginning."""


class Fetch(_Message, frozen=True, kw_only=True, tag="fetch"):
    """The sender has just come and has no networks worth the name: give it yours."""


class Inquire(_Message, frozen=True, kw_only=True, tag="inquire"):
    """What run is this, and who is in it? Anybody may ask, before any hello."""

    protocol: Annotated[int, msgspec.Meta(ge=0, le=65_535)]
    part: Count = 0
    """Of the answer, which may be long."""


class Invitation(_Message, frozen=True, kw_only=True, tag="invitation"):
    """A part of what somebody has to know who wants to come (`protocol.charter`)."""

    protocol: Annotated[int, msgspec.Meta(ge=0, le=65_535)]
    digest: TableDigest
    """Of the whole answer: parts of two answers do not belong together."""
    part: Count
    parts: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)]
    data: Annotated[bytes, msgspec.Meta(max_length=MAX_INVITATION_BYTES)]


class Ping(_Message, frozen=True, kw_only=True, tag="ping"):
    """Are you there?"""

    number: Count
    """The answer repeats it."""
    digest: TableDigest
    """Of the sender's table of members."""
    rumors: Rows = ()


class Pong(_Message, frozen=True, kw_only=True, tag="pong"):
    """Somebody is: whoever sends this, or another who was probed for the one who asked."""

    number: Count
    subject: Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS, pattern=_PRINTABLE)] = ""
    """Who is there, or is not; empty: the sender."""
    is_there: bool = True
    """`False`: the sender has probed the subject and got no answer; it is itself there."""
    is_degraded: bool = False
    """The subject's training thread has shown no sign of life for too long."""
    digest: TableDigest = b""
    """Of the sender's table."""
    rumors: Rows = ()


class Ask(_Message, frozen=True, kw_only=True, tag="ask"):
    """Probe somebody for me."""

    number: Count
    subject: Name
    rumors: Rows = ()


class Rumors(_Message, frozen=True, kw_only=True, tag="rumors"):
    """News of members; or, where two tables differ, a part of one."""

    rows: Rows
    is_table: bool = False
    """Whether it is a part of the whole table: what is dead there may have come back here."""
    wants_table: bool = False
    """Whether the sender wants the other's table in return."""


class Trained(_Message, frozen=True, kw_only=True, tag="trained"):
    """These nodes have made their iterations; told on by whoever did not know it."""

    nodes: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_LISTED)]
    begun: bool
    """The last step has begun: wait for nobody any more."""


class Waits(_Message, frozen=True, kw_only=True, tag="waits"):
    """A node that has made its iterations sees a neighbor still at work; told on if it is new."""

    node: Name
    count: Count
    """How often it has said so, with this time: a larger one is news."""


class Votes(_Message, frozen=True, kw_only=True, tag="votes"):
    """Votes that the sender knows of, its own and others'."""

    votes: Annotated[tuple[Ballot, ...], msgspec.Meta(min_length=1, max_length=MAX_LISTED)]


class _Order(_Message, frozen=True, kw_only=True):
    """What MD-GAN's coordinator wants of a worker's discriminator; a worker does what it is told in
    that order, each between two iterations, and answers with `Holding` once it is done."""

    order: Count
    """Number of the order: an answer says how far the worker has read."""


class Assign(_Order, frozen=True, kw_only=True, tag="assign"):
    """Begin with a new discriminator."""

    slot: Count


class Move(_Order, frozen=True, kw_only=True, tag="move"):
    """Send your discriminator to another worker."""

    slot: Count
    """The number that it goes under: its own, or that of a lost one that it is a copy for."""
    to: Name
    keep: bool
    """Whether it is a copy, and you keep yours."""
    round: Count
    """Rounds finished, by which the vector is known."""


class Expect(_Order, frozen=True, kw_only=True, tag="expect"):
    """A discriminator will come from another worker: take it."""

    slot: Count
    sender: Name
    round: Count
    """As in `Move`."""


class Release(_Order, frozen=True, kw_only=True, tag="release"):
    """You have no discriminator any more, and wait for none."""


class Holding(_Message, frozen=True, kw_only=True, tag="holding"):
    """Which discriminator a worker has: told when that changes, and whenever the two meet."""

    slot: Count | None
    order: Count
    """Of the last order that was read; 0 if there was none."""


class Done(_Message, frozen=True, kw_only=True, tag="done"):
    """All iterations are made: save and stop."""


class Leave(_Message, frozen=True, kw_only=True, tag="leave"):
    """The sender is about to stop: choose it no more, and say when nothing is on the way."""


class LeaveAck(_Message, frozen=True, kw_only=True, tag="leave_ack"):
    """Nothing of ours is on its way to you any more: everything sent went before this message."""


News = Trained | Waits | Votes
"""What is told of the last step."""

Talk = Ping | Pong | Ask | Rumors
"""What members say of each other; over either connection between the two."""

Orders = Assign | Move | Expect | Release
"""What MD-GAN's coordinator tells a worker to do with its discriminator."""

Message = (
    Hello
    | Welcome
    | Refuse
    | Chunk
    | Credit
    | VectorAck
    | Fetch
    | Inquire
    | Invitation
    | Talk
    | News
    | Orders
    | Holding
    | Done
    | Leave
    | LeaveAck
)
"""Every message of this protocol version."""
