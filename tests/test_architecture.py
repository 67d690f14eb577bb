"""The layers of the package and what each part must not touch, read from the source itself.

Imports count wherever they stand: at the head of a module or inside a function. A failing rule
lists its offenders as `file:line: what is wrong`, and every rule is shown to catch a breach.
"""

import ast
import graphlib
import io
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "p2pgan"

BOTTOM = {
    *(
        "errors",
        "types",
        "seeds",
        "ranges",
        "distributions",
        "virtual",
        "daemons",
        "config",
        "files",
    ),
    "__init__",
}
SIBLINGS = {"protocol", "gan", "mixing", "overlay", "data", "compression"}
SHELLS = {"node", "sim", "daemon"}
BELOW_RUNS = BOTTOM | SIBLINGS | {"record", "inspect", "checks", "design", "experiment"}
BELOW_SHELLS = BELOW_RUNS | {"runs", "grid", "comparisons", "parties", "payloads", "predictions"}

MAY_IMPORT: dict[str, set[str]] = {
    **dict.fromkeys(BOTTOM, BOTTOM),
    **dict.fromkeys(SIBLINGS, BOTTOM),  # siblings never import each other
    "record": BOTTOM,
    "inspect": BOTTOM | {"record"},  # it reads the log, and nothing else
    "grid": BOTTOM | {"record", "mixing"},
    "recipes": BOTTOM | {"grid"},
    "checks": BOTTOM | SIBLINGS,
    "design": BOTTOM | SIBLINGS,
    "experiment": BOTTOM | SIBLINGS | {"checks", "design"},
    "parties": BELOW_RUNS,
    "payloads": BELOW_RUNS | {"parties"},
    "predictions": BELOW_RUNS,
    "runs": BELOW_RUNS,
    "comparisons": BELOW_RUNS | {"runs"},
    "node": BELOW_SHELLS,
    "sim": BELOW_SHELLS | {"node"},
    "daemon": BELOW_SHELLS | {"node"},
    "dashboard": BOTTOM | {"record", "inspect"},
    "cli": BELOW_SHELLS | SHELLS | {"dashboard", "recipes"},
    "__main__": {"cli"},
}
"""For each part of the package, the other parts that it may import."""

PROTOCOL_MUST_NOT = {"zmq", "socket", "asyncio", "threading", "time", "random", "logging", "torch"}

ONLY_IN: dict[str, tuple[str, ...]] = {
    "zmq": ("daemon/transport.py", "daemon/auth.py"),
    "typer": ("cli/", "dashboard/"),
    "rich": ("cli/", "dashboard/"),
    "networkx": ("overlay/",),
    "safetensors": ("gan/",),
    "PIL": ("data/",),
    "prometheus_client": ("daemon/http.py",),
    "xxhash": ("protocol/chunks.py",),
}
"""Third-party packages and the only places that may import them."""

NOWHERE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "random"}
"""Modules that run what they read, and a generator that everybody shares."""

HEAVY = {"torch", "networkx", "matplotlib", "scipy", "sklearn", "zmq"}
"""Slow to import; `p2pgan --help` must not wait for them."""

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 6

SEEDED = {"Generator", "PCG64", "default_rng", "SeedSequence", "BitGenerator"}
"""What of `numpy.random` is no global generator."""

GLOBAL_TORCH = {
    *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"),
    *("seed", "manual_seed"),
}
"""Functions of torch that draw from its global generator, or seed it."""


NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


@dataclass(frozen=True)
class Import:
    """One imported module, with the place of its import."""

    module: str
    line: int
    is_at_head: bool
    """Executed when the importing module is: neither in a function nor for type checkers only."""


@dataclass(frozen=True)
class Source:
    """One module of the package."""

    inside: str
    """Path inside the package, such as `gan/cohort.py`."""
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def part(self) -> str:
        """`gan` for every module of the folder; `config` for the file."""
        return self.inside.split("/")[0].removesuffix(".py")

    @property
    def module(self) -> str:
        name = f"{PACKAGE}/{self.inside}".removesuffix(".py").removesuffix("/__init__")
        return name.replace("/", ".")

    def imports(self) -> list[Import]:
        later = {id(node) for block in self._executed_later() for node in ast.walk(block)}
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.inside}:{node.lineno}: a relative import"
                names = [_imported(node.module or "", alias.name) for alias in node.names]
            else:
                continue
            found += [Import(name, node.lineno, id(node) not in later) for name in names]
        return found

    def _executed_later(self) -> Iterator[ast.AST]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from node.body

    def names(self) -> Iterator[tuple[str, int]]:
        """Every dotted name that is read, such as `np.random.seed`, with its line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute | ast.Name):
                yield ast.unparse(node), node.lineno

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    @cached_property
    def code_lines(self) -> frozenset[int]:
        """Lines with code: neither blank, nor comment, nor docstring."""
        lines = {
            line
            for token in tokenize.generate_tokens(io.StringIO(self.text).readline)
            if token.type not in NO_CODE
            for line in range(token.start[0], token.end[0] + 1)
        }
        for node in ast.walk(self.tree):
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_text and isinstance(node, ast.Expr):
                lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        return frozenset(lines)


def _imported(module: str, name: str) -> str:
    """`from package import name` imports the module `package.name`, if there is one."""
    below = ROOT.joinpath(*module.split("."), name)
    is_module = below.with_suffix(".py").is_file() or (below / "__init__.py").is_file()
    return f"{module}.{name}" if is_module else module


@cache
def sources() -> tuple[Source, ...]:
    folder = ROOT / PACKAGE
    return tuple(
        Source(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
    )


def part_of(module: str) -> str | None:
    """The part of the package that a module belongs to; `None` for others."""
    package, _, rest = module.partition(".")
    return (rest.split(".")[0] or "__init__") if package == PACKAGE else None


Breaches = Iterator[tuple[int, str]]
"""Lines of a module and what is wrong there."""


def arrows_point_down(source: Source) -> Breaches:
    may = MAY_IMPORT.get(source.part, set())
    for imported in source.imports():
        part = part_of(imported.module)
        if part not in (None, source.part) and part not in may:
            allowed = ", ".join(sorted(may - {"__init__"}))
            yield imported.line, f"imports {imported.module}; {source.part} may use {allowed}"


def protocol_is_pure(source: Source) -> Breaches:
    """No sockets, clocks, threads or shared randomness in the machines."""
    for imported in source.imports():
        if source.part == "protocol" and imported.module.split(".")[0] in PROTOCOL_MUST_NOT:
            yield imported.line, f"imports {imported.module}"


def packages_are_in_their_places(source: Source) -> Breaches:
    for imported in source.imports():
        places = ONLY_IN.get(imported.module.split(".")[0])
        if places and not source.inside.startswith(places):
            yield imported.line, f"imports {imported.module}, for {', '.join(places)} only"


def nothing_is_unpickled_or_evaluated(source: Source) -> Breaches:
    for imported in source.imports():
        if imported.module.split(".")[0] in NOWHERE:
            yield imported.line, f"imports {imported.module}"
    for name, line in source.names():
        if name in ("eval", "exec", "__import__", "torch.load", "np.load", "torch.hub"):
            yield line, f"uses {name}"


def environment_is_for_the_command_line(source: Source) -> Breaches:
    for name, line in source.names():
        if source.part != "cli" and name in ("os.environ", "os.getenv", "os.putenv", "environ"):
            yield line, f"uses {name}"


def randomness_is_handed_in(source: Source) -> Breaches:
    """No global generator of numpy or torch, and none without a seed."""
    for name, line in source.names():
        owner, _, function = name.rpartition(".")
        if owner in ("np.random", "numpy.random") and function not in SEEDED:
            yield line, f"uses {name}"
        if owner == "torch" and function.removesuffix("_like") in GLOBAL_TORCH:
            yield line, f"uses {name}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            called = ast.unparse(node.func)
            if called.endswith(("default_rng", "PCG64", "SeedSequence")):
                yield node.lineno, f"{called} has no seed"


def files_are_short(source: Source) -> Breaches:
    count = len(source.text.splitlines())
    if count > FILE_LINES_MAX:
        yield 1, f"{count} lines, above {FILE_LINES_MAX}"


def functions_are_short(source: Source) -> Breaches:
    for function in source.functions():
        whole = range(function.lineno, (function.end_lineno or 0) + 1)
        count = len(source.code_lines & set(whole))
        if count > FUNCTION_LINES_MAX:
            yield function.lineno, f"{function.name}: {count} lines of code"


def functions_take_few_parameters(source: Source) -> Breaches:
    """Those of the command line apart: their parameters are its options."""
    for function in source.functions():
        a = function.args
        names = {p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)} - {"self", "cls"}
        if source.part != "cli" and len(names) > PARAMETERS_MAX:
            yield function.lineno, f"{function.name}: {len(names)} parameters"


LONG = "def f():\n    x = 1\n" + "    x += 1\n" * 70
DOCUMENTED = "def f():\n" + '    """A line.' + "\n    Another." * 90 + '\n    """\n    # why\n\n'

RULES: dict[Callable[[Source], Breaches], list[tuple[str, str]]] = {
    arrows_point_down: [
        ("mixing/rules.py", "from p2pgan.gan.models import model"),
        ("mixing/rules.py", "def f():\n    import p2pgan.overlay"),
        ("record/reader.py", "from p2pgan import inspect"),
        ("inspect/tables.py", "from p2pgan import experiment"),
        ("sim/run.py", "from p2pgan.daemon import node"),
        ("config.py", "from p2pgan.overlay.graph import Overlay"),
        ("runs.py", "import p2pgan.sim.run"),
        ("novelty/new.py", "from p2pgan.errors import ConfigError"),
    ],
    protocol_is_pure: [
        ("protocol/peer.py", "import time"),
        ("protocol/peer.py", "def f():\n    from random import choice"),
    ],
    packages_are_in_their_places: [
        ("daemon/node.py", "import zmq.asyncio"),
        ("sim/run.py", "from rich.progress import Progress"),
        ("gan/models.py", "def f():\n    import networkx as nx"),
    ],
    nothing_is_unpickled_or_evaluated: [
        ("gan/scorer.py", "import pickle"),
        ("gan/scorer.py", "import torch\nx = torch.load('x')"),
        ("overlay/files.py", "x = eval('1')"),
    ],
    environment_is_for_the_command_line: [
        ("data/datasets.py", "import os\nx = os.environ['HOME']"),
        ("sim/run.py", "import os\nx = os.getenv('HOME')"),
        ("daemon/node.py", "from os import environ\nx = environ.get('HOME')"),
    ],
    randomness_is_handed_in: [
        ("gan/latents.py", "import numpy as np\nnp.random.seed(1)"),
        ("gan/latents.py", "import numpy as np\nx = np.random.normal()"),
        ("gan/latents.py", "import numpy as np\nx = np.random.default_rng()"),
        ("gan/latents.py", "import torch\nx = torch.randn_like(y)"),
        ("gan/latents.py", "import torch\ntorch.manual_seed(0)"),
    ],
    files_are_short: [("gan/models.py", "x = 1\n" * 601)],
    functions_are_short: [("gan/models.py", LONG), ("cli/app.py", LONG)],
    functions_take_few_parameters: [
        ("gan/models.py", "def f(a, b, c, d, e, /, f, *, g): ..."),
        ("gan/models.py", "class A:\n    def f(self, a, b, c, d, e, f, g): ..."),
    ],
}
"""Every rule, with breaches that it has to see: a path inside the package and a text."""

KEPT: list[tuple[Callable[[Source], Breaches], str, str]] = [
    (arrows_point_down, "daemon/node.py", "from p2pgan.protocol.peer import Peer\nimport os"),
    (arrows_point_down, "cli/app.py", "from p2pgan import __version__"),
    (packages_are_in_their_places, "daemon/transport.py", "import zmq"),
    (environment_is_for_the_command_line, "cli/options.py", "import os\nos.environ"),
    (nothing_is_unpickled_or_evaluated, "gan/scorer.py", "network.eval()"),
    (randomness_is_handed_in, "seeds.py", "np.random.Generator(np.random.PCG64(1))"),
    (functions_are_short, "gan/models.py", DOCUMENTED + "    return 1"),
    (functions_take_few_parameters, "cli/options.py", "def f(a, b, c, d, e, f, g): ..."),
    (functions_take_few_parameters, "gan/a.py", "class A:\n def f(self, a, b, c, d, e, f): ..."),
]
"""What looks like a breach and is none."""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Callable[[Source], Breaches]) -> None:
    assert len(sources()) > 20, "the package was not found"
    breaches = [
        f"{PACKAGE}/{source.inside}:{line}: {what}"
        for source in sources()
        for line, what in rule(source)
    ]
    assert not breaches, "\n" + "\n".join(breaches)


@pytest.mark.parametrize(
    ("rule", "inside", "text"),
    [(rule, *breach) for rule, breaches in RULES.items() for breach in breaches],
)
def test_the_rule_sees_a_breach(rule: Callable[[Source], Breaches], inside: str, text: str) -> None:
    assert list(rule(Source(inside, text)))


@pytest.mark.parametrize(("rule", "inside", "text"), KEPT)
def test_the_rule_sees_no_breach_where_there_is_none(
    rule: Callable[[Source], Breaches], inside: str, text: str
) -> None:
    assert list(rule(Source(inside, text))) == []


def test_every_part_has_its_place_in_the_layers() -> None:
    assert {source.part for source in sources()} <= MAY_IMPORT.keys()


def test_the_layers_themselves_have_no_cycle() -> None:
    parts = {part: may - BOTTOM for part, may in MAY_IMPORT.items() if part not in BOTTOM}
    order = list(graphlib.TopologicalSorter(parts).static_order())
    assert order.index("protocol") < order.index("daemon") < order.index("cli")


def circle(modules: Sequence[Source]) -> list[str]:
    """Modules that import each other in a circle; empty if there is none."""
    graph = {
        source.module: {i.module for i in source.imports() if part_of(i.module) is not None}
        for source in modules
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as cycle:
        return list(cycle.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(sources()) == []


def test_a_circle_is_seen_even_through_a_function() -> None:
    a = Source("gan/losses.py", "from p2pgan.gan import models")
    b = Source("gan/models.py", "def f():\n    from p2pgan.gan.losses import loss")
    assert set(circle([a, b])) == {"p2pgan.gan.losses", "p2pgan.gan.models"}


def test_help_waits_for_nothing_slow() -> None:
    """What `p2pgan.cli.app` imports at its head, and what that imports, and so on."""
    by_module = {source.module: source for source in sources()}
    waiting, seen, slow = ["p2pgan.cli.app"], set[str](), []
    while waiting:
        source = by_module[waiting.pop()]
        seen.add(source.module)
        for imported in source.imports():
            if imported.is_at_head and imported.module.split(".")[0] in HEAVY:
                slow.append(f"{PACKAGE}/{source.inside}:{imported.line}: {imported.module}")
            elif imported.is_at_head and imported.module in by_module.keys() - seen:
                waiting.append(imported.module)
    assert slow == []
    assert seen >= {"p2pgan.cli.app", "p2pgan.errors"}
