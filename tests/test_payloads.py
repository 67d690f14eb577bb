"""Images, labels, feedback and discriminators as bytes."""

from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from p2pgan.config import RunConfig, SplitConfig
from p2pgan.errors import RemoteProtocolError
from p2pgan.experiment import prepare
from p2pgan.gan.split import sparse
from p2pgan.parties import Parties
from p2pgan.payloads import Payloads, discriminator_bytes, numbers, words

SHAPE = (3, 1, 2, 2)
CPU = torch.device("cpu")


def random(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=shape).astype("f4"))


@pytest.mark.parametrize("classes", [0, 10])
def test_batches_come_as_they_were_sent(classes: int) -> None:
    layout = Payloads(SHAPE, classes, 1.0)
    images = random(2, *SHAPE)
    labels = torch.tensor([[1, 9, 0], [4, 4, 2]])
    data = layout.batch(images[1], labels[1]) + layout.batch(images[0], labels[0])
    assert len(data) == layout.batches_bytes == 2 * 4 * (12 + (3 if classes else 0))
    learnt, judged = layout.batches(data, CPU)
    assert torch.equal(learnt.images[0], images[1])
    assert torch.equal(judged.images[0], images[0])
    if classes:
        assert torch.equal(learnt.labels_NB[0], labels[1])
        assert torch.equal(judged.labels_NB[0], labels[0])


def test_a_class_that_there_is_not_does_not_end_the_worker() -> None:
    layout = Payloads(SHAPE, 10, 1.0)
    part = np.r_[np.zeros(12), [-3, 1e9, 5]].astype("<f4").tobytes()
    learnt, _ = layout.batches(part + part, CPU)
    assert learnt.labels_NB.min() >= 0
    assert learnt.labels_NB.max() <= 9


def test_whole_feedback_comes_as_it_was_sent() -> None:
    layout, feedback = Payloads(SHAPE, 0, 1.0), random(*SHAPE)
    data = layout.feedback(feedback)
    assert len(data) == layout.feedback_bytes == 4 * 12
    assert torch.equal(layout.received(data, CPU), feedback)


def test_a_share_of_the_feedback_is_its_largest_values() -> None:
    layout, feedback = Payloads(SHAPE, 0, 0.25), random(*SHAPE)
    data = layout.feedback(feedback)
    assert len(data) == layout.feedback_bytes == 4 * 2 * 3
    received = layout.received(data, CPU).flatten()
    _, positions = sparse(feedback, 0.25)
    kept = torch.zeros(12)
    kept[positions] = feedback.flatten()[positions]
    assert torch.equal(received, kept)


@pytest.mark.parametrize("positions", [[0, 1, 12], [-1, 1, 2], [1, 1, 2], [2, 1, 0], [0.5, 1, 2]])
def test_positions_that_make_no_sense_are_refused(positions: list[float]) -> None:
    layout = Payloads(SHAPE, 0, 0.25)
    data = np.array([1, 2, 3, *positions], dtype="<f4").tobytes()
    with pytest.raises(RemoteProtocolError, match="rising positions below 12"):
        layout.received(data, CPU)


def test_huge_positions_are_refused() -> None:
    layout = Payloads(SHAPE, 0, 0.25)
    data = np.array([1, 2, 3, 0, 1, 3e38], dtype="<f4").tobytes()
    with pytest.raises(RemoteProtocolError):
        layout.received(data, CPU)


def test_words_are_a_copy() -> None:
    vector = random(5)
    data = words(vector)
    vector.zero_()
    assert numbers(data).abs().sum() > 0
    numbers(data).zero_()


def test_sizes_follow_from_the_run(tmp_path: Any) -> None:
    """As the formulas of the thesis have them: two batches there, one back, theta between two."""
    config = RunConfig(algorithm="md-gan", nodes=4, batch_size=10, device="cpu")
    parties = Parties(prepare(config, tmp_path))
    layout, size = Payloads.of(parties), parties.network(0).size
    assert (layout.batches_bytes, layout.feedback_bytes) == (4 * 2 * 10 * 64, 4 * 10 * 64)
    assert discriminator_bytes(parties, 0) == 3 * 4 * size
    reset = msgspec.structs.replace(config, md=SplitConfig(moments="reset"))
    assert discriminator_bytes(Parties(prepare(reset, tmp_path)), 0) == 4 * size
    assert Payloads.of(parties).classes == 0
