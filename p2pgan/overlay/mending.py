"""The overlay as members come and go: who is linked with whom now.

A pure rule. Every node applies it to what it knows of the members, and nodes that know the same get
the same overlay, in whatever order they have heard of it. Nobody decides for others.

1. Who has come is linked with a few earlier members, by order of arrival: as many as the base's
   median degree, at least two. Which ones, hashes of the pair's ids say (rendezvous hashing), so
   that later arrivals change nothing for earlier ones.
2. Who is gone is taken out, by order of ids, and those that were linked with it then are joined in
   a path, in the order of such hashes. What was connected stays so, and nobody gains more than one
   link by it.
"""

import hashlib
import heapq
from collections.abc import Collection, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

import networkx as nx

from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.parts import is_id

LINKS_MIN: Final = 2
"""Of who comes: with one link it would be alone as soon as the other end is gone."""

Adjacency = dict[str, set[str]]
"""The neighbors of every node, in node order."""


def adjacency_now(
    base: Overlay, joined: Sequence[tuple[int, str]], gone: Collection[str], *, mend: bool = True
) -> Adjacency:
    """Who is linked with whom; nodes in the order of the base, then of arrival.

    Args:
        base: the overlay of the beginning.
        joined: who has come since, each with its place in the order of arrival; equal places are in
            the order of ids. Ids that no overlay may have, or that the base has, are left out.
        gone: who is not there any more, of the base or of those who came.
        mend: whether the neighbors of who is gone are linked with each other.
    """
    links = {node: set(base.graph[node]) for node in base.nodes}
    degree = max(LINKS_MIN, int(median(map(len, links.values())) + 0.5))
    for _, node in sorted(joined):
        if node not in links and is_id(node):
            _attach(links, node, degree)
    for node in sorted(gone):
        if node in links:
            _remove(links, node, mend=mend)
    return links


def overlay_now(
    base: Overlay, joined: Sequence[tuple[int, str]], gone: Collection[str], *, mend: bool = True
) -> Overlay:
    """The same as an overlay; nodes and edges of the base keep what is said of them.

    Raises:
        OverlayError: if nobody is left.
    """
    links = adjacency_now(base, joined, gone, mend=mend)
    graph = nx.Graph()
    graph.add_nodes_from((node, base.graph.nodes.get(node, {})) for node in links)
    for node, peers in links.items():
        for peer in sorted(peers):
            graph.add_edge(node, peer, **(base.graph.get_edge_data(node, peer) or {}))
    return Overlay(base.name, graph)


def _attach(links: Adjacency, node: str, degree: int) -> None:
    chosen = heapq.nlargest(degree, links, key=lambda other: _rank(node, other))
    links[node] = set(chosen)
    for other in chosen:
        links[other].add(node)


def _remove(links: Adjacency, node: str, *, mend: bool) -> None:
    peers = sorted(links.pop(node), key=lambda other: _rank(node, other))
    for peer in peers:
        links[peer].discard(node)
    if mend:
        for one, other in pairwise(peers):
            links[one].add(other)
            links[other].add(one)


def _rank(node: str, other: str) -> bytes:
    """A hash of the two; the separator is in no id."""
    return hashlib.blake2b(f"{node}\x1f{other}".encode(), digest_size=16).digest()
