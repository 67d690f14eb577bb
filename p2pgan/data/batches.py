"""Which images a node sees: shuffled passes over its shard, cut into batches."""

import numpy as np
import numpy.typing as npt

from p2pgan.errors import DataError
from p2pgan.seeds import go_to, position

Indices = npt.NDArray[np.int64]


class BatchSampler:
    """An endless stream of a shard's indices, pass after pass, each pass freshly shuffled.

    The stream depends on the generator alone, not on how many batches are taken at a time, so that
    a daemon that takes one batch sees what a simulator sees that takes a thousand. A batch may
    straddle two passes; no image is left out of a pass.

    Args:
        indices: the shard, positions in the data set's training images.
        batch_size: images per batch.
        rng: the stream `batches` of the node; the sampler alone draws from it.
    Raises:
        DataError: if the shard is smaller than a batch.
    """

    def __init__(self, indices: Indices, batch_size: int, rng: np.random.Generator) -> None:
        if not 1 <= batch_size <= len(indices):
            raise DataError(
                expected=f"a batch of 1 to {len(indices)} images, the size of the shard",
                got=f"`{batch_size}`",
                at="batch_size",
                hint="take a smaller batch or fewer nodes",
            )
        self._indices = np.asarray(indices, dtype=np.int64)
        self._batch_size = batch_size
        self._rng = rng
        self._left = self._indices[:0]
        self._pass_at = ""
        """Where the stream stood before the latest pass was shuffled."""

    def take(self, count: int) -> Indices:
        """The next batches, int64, shape `[count, batch_size]`."""
        needed = count * self._batch_size
        passes_missing = -(-max(needed - len(self._left), 0) // len(self._indices))
        passes = [self._next_pass() for _ in range(passes_missing)]
        stream = np.concatenate([self._left, *passes])
        self._left = stream[needed:]
        return stream[:needed].reshape(count, self._batch_size)

    @property
    def position(self) -> str:
        """Where it stands, as text that `go_to` takes."""
        left = len(self._left)
        return f"{left} {self._pass_at if left else position(self._rng)}"

    def go_to(self, position: str) -> None:
        """Goes on where another sampler of the same shard stood.

        Raises:
            ValueError: if the text is no `position`.
        """
        left, _, where = position.partition(" ")
        go_to(self._rng, where)
        whole = self._next_pass() if int(left) else self._indices[:0]
        self._left = whole[len(whole) - int(left) :]

    def _next_pass(self) -> Indices:
        self._pass_at = position(self._rng)
        return self._rng.permutation(self._indices)
