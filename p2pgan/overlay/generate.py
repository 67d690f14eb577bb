"""Families of overlays, drawn by networkx.

Without parameters, every family but the torus works for every number of nodes: a default that is
too large for few nodes is clipped. A parameter that is given and cannot be met is an error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import numpy as np

from p2pgan.errors import OverlayError, unknown_name
from p2pgan.overlay.graph import DEFAULT_NODES, Overlay
from p2pgan.overlay.spec import Spec

Drawn = tuple[nx.Graph, tuple[int | float, ...]]
"""A graph on the nodes 0 to n - 1, and the values that the parameters took."""

REGULAR_DEGREE = 4
SMALL_WORLD_DEGREE = 4
SMALL_WORLD_REWIRING = 0.1
ATTACHED_EDGES = 2
ERDOS_RENYI_FACTOR = 3.0
"""Default edge probability over ln(n)/n. Above 1 a large graph is connected almost surely (Erdős
and Rényi 1960); 3 leaves about one draw in n² disconnected, at few nodes too."""


@dataclass(frozen=True)
class Family:
    """A family of overlays, as `p2pgan topology new --list` shows it."""

    name: str
    parameters: tuple[str, ...]
    description: str
    draw: Callable[[Spec, np.random.Generator], Drawn]
    aliases: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """How it is written, such as `watts-strogatz:K,P`."""
        return self.name + (":" + ",".join(self.parameters) if self.parameters else "")


def families() -> list[Family]:
    """Every family, in the order in which they are best explained."""
    return list(_FAMILIES)


def names() -> dict[str, Family]:
    """Every family by its name and its aliases."""
    return {name: family for family in _FAMILIES for name in (family.name, *family.aliases)}


def generate(spec: str, nodes: int, rng: np.random.Generator) -> Overlay:
    """Draws an overlay with the ids `0` to `nodes - 1`.

    The graph's attribute `family` keeps the specification with the values that were used. A random
    family may draw a disconnected graph (`Overlay.check_connected` tells).

    Args:
        spec: `family`, `family:A` or `family:A,B`.
        nodes: number of nodes, at least 1.
        rng: consumed by random families only.
    Raises:
        OverlayError: for an unknown family, or values that so many nodes cannot meet.
    """
    asked = Spec(spec, nodes)
    family = names().get(asked.family)
    if family is None:
        raise unknown_name(OverlayError, "a family of overlays", asked.family, names(), "overlay")
    if nodes < 1:
        raise OverlayError(expected="at least 1 node", got=f"`{nodes}`", at=f"overlay `{spec}`")
    asked.check_count(family.parameters)
    drawn, values = family.draw(asked, rng)
    # Generators keep nodes and edges in an order of their own, which must not reach the indices.
    graph = nx.empty_graph(nodes)
    graph.add_edges_from(sorted(tuple(sorted(edge)) for edge in drawn.edges))
    graph.graph["description"] = family.description
    graph.graph["family"] = family.name + (":" + ",".join(map(str, values)) if values else "")
    return Overlay(f"{family.name}-{nodes}", graph)


def default_nodes(spec: str) -> int:
    """Number of nodes if nobody says: the product of a grid's sides if given, else 10."""
    asked = Spec(spec, DEFAULT_NODES)
    if asked.family in ("grid", "torus") and len(asked.arguments) == 2:
        return math.prod(_sides_given(asked, least=1) or (DEFAULT_NODES,))
    return DEFAULT_NODES


def _complete(spec: Spec, rng: np.random.Generator) -> Drawn:
    return nx.complete_graph(spec.nodes), ()


def _ring(spec: Spec, rng: np.random.Generator) -> Drawn:
    # networkx closes a ring of one node with a self loop.
    return nx.cycle_graph(spec.nodes) if spec.nodes > 1 else nx.empty_graph(1), ()


def _star(spec: Spec, rng: np.random.Generator) -> Drawn:
    return nx.star_graph(spec.nodes - 1), ()


def _grid(spec: Spec, rng: np.random.Generator) -> Drawn:
    rows, columns = _sides(spec, least=1) or _squarest(spec.nodes)
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, columns)), (rows, columns)


TORUS_SIDE_MIN = 3
"""With a side of 2, the edge around and the edge across would join the same two nodes."""


def _torus(spec: Spec, rng: np.random.Generator) -> Drawn:
    rows, columns = _sides(spec, least=TORUS_SIDE_MIN) or _squarest(spec.nodes)
    if rows < TORUS_SIDE_MIN:
        raise spec.error(
            "a number of nodes that is a product of two sides of at least 3",
            f"{spec.nodes} = {rows} x {columns}",
            f"take {_torus_sizes_near(spec.nodes)} nodes, or `grid`",
        )
    drawn = nx.grid_2d_graph(rows, columns, periodic=True)
    return nx.convert_node_labels_to_integers(drawn), (rows, columns)


def _torus_sizes_near(nodes: int) -> str:
    fits = [n for n in range(9, nodes + 10) if _squarest(n)[0] >= TORUS_SIDE_MIN]
    below, above = [n for n in fits if n < nodes][-1:], [n for n in fits if n > nodes][:1]
    return " or ".join(map(str, below + above))


def _sides(spec: Spec, least: int) -> tuple[int, int] | None:
    sides = _sides_given(spec, least)
    if sides is not None and math.prod(sides) != spec.nodes:
        rows, columns = sides
        raise spec.error(
            f"sides whose product is {spec.nodes}",
            f"{rows} x {columns} = {rows * columns}",
            f"ask for {rows * columns} nodes, or leave the sides out",
        )
    return sides


def _sides_given(spec: Spec, least: int) -> tuple[int, int] | None:
    side_max = 1_000_000
    rows = spec.whole(0, "ROWS", least=least, most=side_max)
    columns = spec.whole(1, "COLS", least=least, most=side_max)
    if rows is not None and columns is None:
        raise spec.error("both sides as `ROWS,COLS`", spec.text)
    return None if rows is None or columns is None else (rows, columns)


def _squarest(nodes: int) -> tuple[int, int]:
    """The two factors nearest to each other, the smaller first; a prime gives a single row."""
    rows = next(r for r in range(math.isqrt(nodes), 0, -1) if nodes % r == 0)
    return rows, nodes // rows


def _random_regular(spec: Spec, rng: np.random.Generator) -> Drawn:
    degree = spec.whole(0, "DEGREE", least=1, most=spec.nodes - 1)
    if degree is None:
        degree = min(REGULAR_DEGREE, spec.nodes - 1)
        degree -= degree * spec.nodes % 2
    elif degree * spec.nodes % 2:
        raise spec.error(
            "DEGREE times the number of nodes to be even, as every edge has two ends",
            f"{degree} x {spec.nodes} = {degree * spec.nodes}",
            f"take a degree of {degree - 1 or 2} or one node more",
        )
    return nx.random_regular_graph(degree, spec.nodes, seed=_seed(rng)), (degree,)


def _erdos_renyi(spec: Spec, rng: np.random.Generator) -> Drawn:
    probability = spec.probability(0, "P, the probability of an edge")
    if probability is None:
        usual = ERDOS_RENYI_FACTOR * math.log(spec.nodes) / spec.nodes
        probability = round(min(1.0, usual), 4)
    return nx.gnp_random_graph(spec.nodes, probability, seed=_seed(rng)), (probability,)


def _watts_strogatz(spec: Spec, rng: np.random.Generator) -> Drawn:
    degree = spec.whole(0, "K, the neighbors before rewiring", least=2, most=spec.nodes - 1)
    rewiring = spec.probability(1, "P, the probability of rewiring an edge")
    rewiring = SMALL_WORLD_REWIRING if rewiring is None else rewiring
    if degree is None:
        degree = min(SMALL_WORLD_DEGREE, spec.nodes - 1) // 2 * 2
    elif degree % 2:
        raise spec.error(
            "an even K, half of it on either side of the ring",
            degree,
            f"take {degree - 1}",
        )
    if spec.nodes <= 2:  # too few for a ring with two sides
        return nx.complete_graph(spec.nodes), (degree, rewiring)
    drawn = nx.watts_strogatz_graph(spec.nodes, degree, rewiring, seed=_seed(rng))
    return drawn, (degree, rewiring)


def _barabasi_albert(spec: Spec, rng: np.random.Generator) -> Drawn:
    edges = spec.whole(0, "M, the edges that each new node brings", least=1, most=spec.nodes - 1)
    if edges is None:
        edges = min(ATTACHED_EDGES, max(1, spec.nodes - 1))
    if spec.nodes == 1:
        return nx.empty_graph(1), (edges,)
    return nx.barabasi_albert_graph(spec.nodes, edges, seed=_seed(rng)), (edges,)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32))


_FAMILIES = (
    Family("complete", (), "Everybody is everybody's neighbor.", _complete),
    Family("ring", (), "Each node has the two neighbors beside it.", _ring),
    Family("star", (), "Node 0 is everybody's only neighbor.", _star),
    Family(
        "grid",
        ("ROWS", "COLS"),
        "Neighbors above, below, left and right; by default as square as can be.",
        _grid,
    ),
    Family(
        "torus",
        ("ROWS", "COLS"),
        "A grid whose borders are joined, both sides at least 3.",
        _torus,
    ),
    Family(
        "random-regular",
        ("DEGREE",),
        "Random, with DEGREE neighbors for everybody (4, fewer if nodes are few).",
        _random_regular,
    ),
    Family(
        "erdos-renyi",
        ("P",),
        "Each pair is joined with probability P (3 ln(n)/n, at most 1).",
        _erdos_renyi,
    ),
    Family(
        "watts-strogatz",
        ("K", "P"),
        "Small world: a ring of K neighbors (4), each edge rewired with probability P (0.1).",
        _watts_strogatz,
        aliases=("small-world",),
    ),
    Family(
        "barabasi-albert",
        ("M",),
        "Scale free: each new node joins M others (2), likelier those with many neighbors.",
        _barabasi_albert,
    ),
)
