"""One seed for everything random, split by (node, purpose).

A stream is a numpy generator whose draws do not depend on any other stream, nor on how many values
are drawn at a time, so that a node sees the same batches and latents whether it is trained alone or
in a cohort, ten iterations at a time or a thousand.
"""

import hashlib
from typing import Literal

import numpy as np

Purpose = Literal[
    "split",
    "images",
    "partition",
    "overlay",
    "initial-weights",
    "batches",
    "latents",
    "labels",
    "proportions",
    "draws",
    "scores",
    "quality",
    "sample",
    "judgement",
    "judges",
    "rehearsal",
    "discriminators",
    "moves",
    "faults",
    "selection",
    "arrivals",
    "stand-in",
    "test-images",
    "scorer",
    "preset",
    "machines",
    "links",
    "outages",
    "network",
    "probes",
    "trial",
]
"""What a stream is for. A new purpose gets a new name, so that old runs stay reproducible."""

EVERYONE = ""
"""The node of a stream that belongs to the run as a whole."""


def stream(seed: int, node: str, purpose: Purpose) -> np.random.Generator:
    """The generator of `(seed, node, purpose)`, at its start.

    Args:
        seed: the run's seed, any integer.
        node: id of the node that draws, or `EVERYONE`.
        purpose: what the draws are for.
    """
    key = hashlib.blake2b(f"{seed}\x1f{node}\x1f{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key, "little")))


def position(generator: np.random.Generator) -> str:
    """Where a stream stands, as text that `go_to` takes."""
    state = generator.bit_generator.state
    inner = state["state"]
    return f"{inner['state']:x} {inner['inc']:x} {state['has_uint32']:x} {state['uinteger']:x}"


def go_to(generator: np.random.Generator, position: str) -> None:
    """Sets a stream to where another of its kind stood.

    Raises:
        ValueError: if the text is no `position`.
    """
    state, inc, has_uint32, uinteger = (int(part, 16) for part in position.split(" "))
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": inc},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
