"""Writes the ready overlay files of topologies/ and the table of them; `--check` compares instead.

Run from anywhere: .venv/bin/python tools/make_topologies.py [--check]
"""

import sys
from pathlib import Path

import networkx as nx
import numpy as np

from p2pgan.overlay import analysis, files, generate
from p2pgan.overlay.addresses import numbered_addresses
from p2pgan.overlay.graph import Overlay
from p2pgan.seeds import EVERYONE, stream

FOLDER = Path(__file__).parents[1] / "topologies"
SEED = 1

FAMILIES = {
    "pair-2": ("complete", 2, "The smallest overlay: two nodes that only have each other."),
    "complete-5": ("complete", 5, "Everybody knows everybody: five daemons on one machine."),
    "ring-10": ("ring", 10, "The slowest to mix: news goes around a ring of ten."),
    "star-11": ("star", 11, "A hub and ten leaves: what a single busy peer does to gossip."),
    "grid-25": ("grid:5,5", 25, "Five by five, neighbors at the sides only: sensors on a field."),
    "torus-36": ("torus:6,6", 36, "Six by six without a border: every node sees the same."),
    "random-regular-20": (
        "random-regular:4",
        20,
        "Four random neighbors each: mixes fast for its few edges, a good first choice.",
    ),
    "small-world-10": (
        "watts-strogatz:4,0.2",
        10,
        "Ten nodes, mostly local neighbors and some short cuts: a first run.",
    ),
    "small-world-50": (
        "watts-strogatz:6,0.1",
        50,
        "Fifty nodes, local neighbors and few short cuts: clustered, yet close together.",
    ),
    "erdos-renyi-30": (
        "erdos-renyi:0.2",
        30,
        "Thirty nodes joined at random: uneven degrees without hubs.",
    ),
    "barabasi-albert-50": (
        "barabasi-albert:2",
        50,
        "Fifty nodes with few hubs and many leaves, as links among sites on the web.",
    ),
}


def from_family(name: str) -> Overlay:
    spec, nodes, description = FAMILIES[name]
    drawn = generate.generate(spec, nodes, stream(SEED, EVERYONE, "overlay"))
    return named(name, drawn.graph, description)


def named(name: str, graph: nx.Graph, description: str) -> Overlay:
    described = nx.Graph(graph)
    described.graph["name"] = name
    described.graph["description"] = description
    return Overlay(name, described)


def two_hosts() -> Overlay:
    graph = nx.Graph()
    graph.add_nodes_from(["alice", "bob"])
    graph.add_edge("alice", "bob")
    overlay = named(
        "two-hosts-2",
        graph,
        "Two daemons in two terminals; put your hosts' addresses in for two machines.",
    )
    return overlay.with_addresses(
        numbered_addresses("tcp://127.0.0.1:5550", overlay.nodes, "two-hosts-2")
    )


def two_clusters() -> Overlay:
    """Two cliques of five as in two offices, and two slow links between them."""
    near, far = (
        {"latency_ms": 0.5, "bandwidth_mbps": 1000},
        {"latency_ms": 40.0, "bandwidth_mbps": 50},
    )
    graph = nx.Graph()
    for site in ("a", "b"):
        nodes = [f"{site}{i}" for i in range(5)]
        graph.add_nodes_from(nodes, site=site)
        graph.add_edges_from(nx.complete_graph(nodes).edges, **near)
    graph.add_edges_from([("a0", "b0"), ("a2", "b2")], **far)
    return named(
        "two-clusters-10",
        graph,
        "Two offices of five on fast networks, two slow links between: where gossip gets stuck.",
    )


def overlays() -> list[Overlay]:
    return [*map(from_family, FAMILIES), two_hosts(), two_clusters()]


def table(ready: list[Overlay]) -> str:
    lines = [
        "# Ready overlays",
        "",
        "Any of these names can follow `--overlay` and `p2pgan topology show | stats | draw`. The",
        "files are node-link JSON; `tools/make_topologies.py` writes them and this table.",
        "",
        "| name | nodes | edges | diameter | spectral gap | push rounds | for |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for overlay in ready:
        s = analysis.stats(overlay, np.random.default_rng(SEED))
        lines.append(
            f"| `{s.name}` | {s.nodes} | {s.edges} | {s.diameter} | {s.spectral_gap:.3f} "
            f"| {s.push_rounds:.0f} | {overlay.description} |"
        )
    lines += [
        "",
        "Diameter: edges on the longest shortest path. Spectral gap: of the Metropolis-Hastings",
        "matrix, 1 mixes at once and 0 never. Push rounds: median until a rumor reaches everybody",
        "when each informed node tells one random neighbor per round.",
    ]
    return "\n".join(lines) + "\n"


def contents() -> dict[str, bytes]:
    ready = overlays()
    for overlay in ready:
        overlay.check_connected()
    made = {f"{overlay.name}.json": files.render(overlay, "json") for overlay in ready}
    return made | {"README.md": table(ready).encode()}


def stale(made: dict[str, bytes]) -> list[str]:
    """Names of files that are missing, differ or should not be there."""
    there = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}
    return sorted(name for name in there.keys() | made.keys() if there.get(name) != made.get(name))


def main() -> int:
    made = contents()
    if "--check" in sys.argv[1:]:
        wrong = stale(made)
        print("\n".join(f"topologies/{name} is not what the tool writes" for name in wrong), end="")
        return 1 if wrong else 0
    FOLDER.mkdir(exist_ok=True)
    for name, data in made.items():
        (FOLDER / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
