"""The simulated disk: who cannot save, and since when. Files are replaced whole, or not at all."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from p2pgan.errors import CheckpointError


class Disk:
    """Every node's disk.

    Args:
        store: keeps a file, all of it or nothing.
    """

    def __init__(self, store: Callable[[Path, bytes], None]) -> None:
        self._store = store
        self._full: Counter[str] = Counter()

    def fill(self, node: str) -> None:
        """From now on there is no room."""
        self._full[node] += 1

    def free(self, node: str) -> None:
        """There is room again."""
        self._full[node] -= 1

    def write(self, node: str, path: Path, data: bytes) -> None:
        """Writes a file of a node.

        Raises:
            CheckpointError: if its disk is full; the file that was there stays.
        """
        if self._full[node] > 0:
            raise CheckpointError(
                expected=f"room for {len(data)} bytes", got="a full disk", at=str(path)
            )
        self._store(path, data)
