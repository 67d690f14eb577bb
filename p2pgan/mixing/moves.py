"""MD-GAN's rules: which batches a discriminator gets, and where it is.

Discriminators are numbered from 0 (*slots*); `places` says which worker has each.
"""

import math
from collections.abc import Sequence

import numpy as np

Places = dict[int, str]
"""For each slot the worker that has its discriminator; one that is lost is left out."""


def batch_count(setting: int | str, discriminators: int) -> int:
    """k: how many batches are generated in an iteration.

    Args:
        setting: a number, or `log` for `max(1, floor(ln n))` (thesis, section 5.2.2).
        discriminators: n.
    """
    return max(1, int(math.log(discriminators))) if setting == "log" else int(setting)


def batches_of(slot: int, batches: int) -> tuple[int, int]:
    """The batches, from 0, that a discriminator judges (`g`) and learns from (`d`).

    Thesis, section 5.2.2: `X_j^(g) = X^((j mod k) + 1)`, `X_j^(d) = X^(((j + 1) mod k) + 1)`, with
    `j` from 1. They are two unless there is only one.
    """
    return (slot + 1) % batches, (slot + 2) % batches


def first_places(workers: Sequence[str], discriminators: int, rng: np.random.Generator) -> Places:
    """Discriminators on random workers (thesis, section 5.2.1); one on each if there are as many.

    Slots follow the order of the workers, so that where there are as many, slot `i` begins at
    worker `i`.
    """
    chosen = sorted(rng.choice(len(workers), discriminators, replace=False).tolist())
    return {slot: workers[index] for slot, index in enumerate(chosen)}


def moved(places: Places, workers: Sequence[str], rng: np.random.Generator) -> Places:
    """Where the discriminators go: every one to another random worker, no two to the same.

    With as many workers as discriminators it is a permutation, with more the idle ones get their
    turn. Where a lone worker has nowhere to send its discriminator, it stays. Who draws is the
    coordinator: workers that each choose for themselves, as the thesis has it (algorithm 3), could
    choose the same.

    Args:
        places: where they are, all of them among `workers`.
        workers: who is there, in the run's order.
        rng: of the coordinator's moves.
    """
    if len(workers) == 1:
        return dict(places)
    while True:  # with as many workers, one draw in e = 2.7 moves everybody
        chosen = rng.choice(len(workers), len(places), replace=False).tolist()
        drawn = {slot: workers[index] for slot, index in zip(sorted(places), chosen, strict=True)}
        if all(drawn[slot] != places[slot] for slot in places):
            return drawn


def replacement(
    slot: int, places: Places, workers: Sequence[str], kinds: int, rng: np.random.Generator
) -> tuple[int | None, str] | None:
    """How a lost discriminator is made again: the slot that is copied, and an idle worker.

    Thesis, section 5.2.1: the copy of a discriminator is as far as the others. Of those of the same
    architecture one is drawn; if there is none, the slot to copy is `None`, and it begins anew.

    Args:
        slot: of the lost one.
        places: where the others are.
        workers: who is there, in the run's order.
        kinds: number of architectures, which are dealt to slots in turn.
        rng: of the coordinator's moves.
    Returns:
        `None` if no worker is idle.
    """
    idle = [worker for worker in workers if worker not in places.values()]
    if not idle:
        return None
    alike = [other for other in sorted(places) if other % kinds == slot % kinds]
    source = alike[int(rng.integers(len(alike)))] if alike else None
    return source, idle[int(rng.integers(len(idle)))]
