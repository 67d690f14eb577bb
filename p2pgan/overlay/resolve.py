"""From what a user writes after `--overlay` to an overlay."""

import numpy as np

from p2pgan.errors import OverlayError, unknown_name
from p2pgan.overlay import files, generate
from p2pgan.overlay.graph import Overlay


def resolve(
    spec: str, nodes: int | None, rng: np.random.Generator, *, allow_disconnected: bool
) -> Overlay:
    """The overlay that `spec` names: a family, a ready file's name, or a path, tried in this order.

    Args:
        spec: such as `ring`, `watts-strogatz:4,0.1`, `small-world-50` or `my/overlay.json`.
        nodes: number of nodes; a file with more gives its first ones. `None`: those of the file,
            the product of a grid's sides, else 10.
        rng: draws random families; files leave it alone.
        allow_disconnected: accept an overlay in more than one piece.
    Raises:
        OverlayError: for an unknown name, what the family or file is wrong about, a file with fewer
            nodes than asked for, or a disconnected overlay.
    """
    overlay = _found(spec, nodes, rng)
    if not allow_disconnected:
        overlay.check_connected()
    return overlay


def is_family(spec: str) -> bool:
    """Whether a specification names a family, and no file."""
    return spec.partition(":")[0].strip() in generate.names()


def _found(spec: str, nodes: int | None, rng: np.random.Generator) -> Overlay:
    if is_family(spec):
        count = generate.default_nodes(spec) if nodes is None else nodes
        try:
            return generate.generate(spec, count, rng)
        except OverlayError as error:
            hint = error.hint or "say other values or another family with `--overlay`"
            raise OverlayError(
                expected=error.expected, got=error.got, at=error.at, hint=hint
            ) from None
    ready = files.ready()
    if spec not in ready and not files.is_overlay_file(spec):
        known = [*generate.names(), *ready]
        raise unknown_name(OverlayError, "an overlay", spec, known, "--overlay")
    overlay = files.read(ready.get(spec, spec))
    return overlay if nodes is None else overlay.first(nodes)
