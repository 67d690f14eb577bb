"""What the documentation tells people to type is understood by the command line."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from p2pgan.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOT_COMMAND: Any = typer.main.get_command(app)

FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^ {4}\S.*\n?)+", re.MULTILINE)
VARIABLE = re.compile(r"^[A-Z0-9_]+=\S*$")


def code_blocks(text: str) -> Iterator[str]:
    """Fenced blocks, then indented ones."""
    for match in FENCE.finditer(text):
        yield match[1]
    for match in INDENTED.finditer(FENCE.sub("", text)):
        yield match[0]


def commands(text: str) -> Iterator[tuple[str, ...]]:
    """The arguments after `p2pgan` of every command line in code blocks and help examples."""
    for block in code_blocks(text):
        examples = re.sub(r"(Example: p2pgan [^\n]+)\n +(?=\S)", r"\1 ", block)
        for line in examples.replace("\\\n", " ").splitlines():
            command = line.strip().removeprefix("$ ").removeprefix("Example: ")
            try:
                words = shlex.split(command, comments=True)
            except ValueError:
                continue
            while words and VARIABLE.match(words[0]):
                words.pop(0)
            if words[:1] == ["p2pgan"]:
                yield tuple(words[1:])


EXAMPLES = [(page, words) for page in PAGES for words in commands(page.read_text("utf-8"))]


def parse(words: tuple[str, ...]) -> None:
    """Parses a command line down to its last command, which is not run.

    Raises:
        Exception: of the command line, for an unknown command or option or a value of a wrong type.
    """
    command, name, rest, parent = ROOT_COMMAND, "p2pgan", list(words), None
    while True:
        context = command.make_context(name, rest, parent=parent)
        if not hasattr(command, "commands"):
            return
        name, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        parent = context


def test_the_pages_have_examples() -> None:
    assert {page.name for page, _ in EXAMPLES} >= {"README.md", "overlays.md", "commands.md"}
    assert len(EXAMPLES) > 25


@pytest.mark.parametrize(
    ("page", "words"), EXAMPLES, ids=[f"{page.name}: {' '.join(w)}" for page, w in EXAMPLES]
)
def test_it_is_understood(page: Path, words: tuple[str, ...]) -> None:
    parse(words)


@pytest.mark.parametrize(
    "words",
    [("simulate", "--nodess", "3"), ("simulate", "-n", "x"), ("simulat",), ("topology", "nww")],
)
def test_what_is_wrong_would_be_found(words: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|valid integer"):
        parse(words)


def test_the_reader_of_pages_finds_what_it_should() -> None:
    text = (
        "Say `p2pgan inline`.\n\n```console\n$ A=1 p2pgan up -n 5 \\\n    --seed 1  # five\nother\n"
        "```\n\n    p2pgan sample RUN --node 2\n\n```text\n  Example: p2pgan data\n  list\n\n```\n"
    )
    assert list(commands(text)) == [
        ("up", "-n", "5", "--seed", "1"),
        ("data", "list"),
        ("sample", "RUN", "--node", "2"),
    ]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 170


LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(FENCE.sub("", page.read_text("utf-8")))
    assert [target for target in targets if not (page.parent / target).exists()] == []
