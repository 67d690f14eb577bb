"""Writes the reference pages that say what the code says: configuration and commands.

python tools/make_reference.py          writes docs/reference/configuration.md and commands.md
python tools/make_reference.py --check  says which are out of date, and fails if one is
"""

import ast
import inspect
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from p2pgan import config, daemons, virtual
from p2pgan.cli.app import app

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

WIDTH = 80
"""Columns of the help texts, whatever terminal this runs in."""

CONFIGURATION_HEAD = """\
# Configuration

Every key, for `--config FILE.toml`, `--set KEY=VALUE` and the environment. `train.loss` is `loss`
in the table `[train]` of a file, `--set train.loss=hinge`, or `P2PGAN_TRAIN__LOSS=hinge`. Where
sources disagree, the first of these wins: `--set`, the other options, the environment, the file,
the default. A period given in one of them (`exchange_every` or `exchange_epochs`) replaces both of
those below it.

The `run.toml` of a run holds all of it as it was resolved, and can be given back as `--config`.
`P2PGAN_DATA_DIR`, the folder of the data sets, is no key.

This page is generated from `p2pgan/config.py` and `p2pgan/virtual.py` by
`python tools/make_reference.py`.
"""

COMMANDS_HEAD = """\
# Commands

`--json` prints exactly one JSON document on stdout; progress and remarks go to stderr. Exit
status: 0 done, 1 failed (one line on stderr: what was expected, what came, where, and often a
hint), 2 wrong usage, 130 interrupted, after saving what there is. A daemon is made to be stopped:
`node start` that saves and leaves upon SIGTERM or the first Ctrl-C ends with 0, and with 130 only
upon a second Ctrl-C, at once and without saving. `up` ends with 130 upon either.

This page is generated from the help texts by `python tools/make_reference.py`.
"""


def configuration_page() -> str:
    """`configuration.md`: a table of keys for the top level and for each sub-table."""
    bodies = [ast.parse(inspect.getsource(module)).body for module in (config, virtual, daemons)]
    nodes = itertools.chain.from_iterable(bodies)
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    fields = {name: list(_fields(node)) for name, node in classes.items()}
    parts = [CONFIGURATION_HEAD, _section("Top level", "", classes["RunConfig"], fields)]
    for key, kind, _, _ in fields["RunConfig"]:
        if kind in classes:
            parts.append(_section(f"`[{key}]`", f"{key}.", classes[kind], fields))
    return "\n".join(parts)


Field = tuple[str, str, str, str]
"""Name, annotation, default and description."""


def _fields(node: ast.ClassDef) -> Iterator[Field]:
    """The fields of a struct; a table of its own has no description."""
    for field, after in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert field.value is not None
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = " ".join(str(after.value.value).split())
            text = text.replace("`None`:", "left out:")
            yield field.target.id, ast.unparse(field.annotation), _default(field.value), text


def _section(title: str, prefix: str, node: ast.ClassDef, fields: dict[str, list[Field]]) -> str:
    rows = [
        f"| `{prefix}{name}` | {_type(kind)} | {default} | {text} |\n"
        for name, kind, default, text in fields[node.name]
        if kind not in fields
    ]
    head = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
    return f"## {title}\n\n{ast.get_docstring(node)}\n\n{head}" + "".join(rows)


def _default(value: ast.expr) -> str:
    """As TOML writes it; `None` stands for a key that is left out."""
    found = ast.literal_eval(value) if not isinstance(value, ast.Call) else None
    if found is None or found == ():
        return "–"
    if found == "":
        return '`""`'
    return f"`{str(found).lower()}`" if isinstance(found, bool) else f"`{found}`"


def _type(annotation: str) -> str:
    """The annotation in a reader's words."""
    plain = annotation.removesuffix(" | None")
    if plain.startswith("Literal["):
        return ", ".join(f"`{choice}`" for choice in ast.literal_eval(plain[len("Literal") :]))
    words = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
    words["tuple[str, ...]"] = "list of texts"
    return words.get(plain) or " or ".join(words[part] for part in plain.split(" | "))


def commands_page() -> str:
    """`commands.md`: the help text of every command, without color, at a fixed width."""
    os.environ.update(COLUMNS=str(WIDTH), NO_COLOR="1")
    parts = [COMMANDS_HEAD]
    for name, text in help_texts(typer.main.get_command(app), "p2pgan", None):
        parts.append(f"## `{name}`\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def help_texts(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    """Name and help text of a command and of all below it."""
    context = command.context_class(
        command, info_name=name.split()[-1], parent=parent, **command.context_settings
    )
    yield name, command.get_help(context).rstrip()
    for below in getattr(command, "commands", {}).values():
        yield from help_texts(below, f"{name} {below.name}", context)


PAGES = {"configuration.md": configuration_page, "commands.md": commands_page}


def main(arguments: list[str]) -> int:
    stale = []
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if "--check" in arguments:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"out of date: {', '.join(stale)} (hint: `python {sys.argv[0]}`)", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
