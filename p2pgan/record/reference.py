"""The reference page of the log, written from the schema's own words."""

import ast
import inspect
from collections.abc import Iterator

from p2pgan.record import schema

_HEAD = """\
# Records

One JSON object a line, in `RUN/events.jsonl` (simulator) or `RUN/nodes/<id>/events.jsonl`
(daemons). Schema `{version}`. A reader ignores fields and kinds that it does not know, refuses
another major version, and leaves out a last line that was cut short. Fields that do not apply are
left out; a number that is not finite is `null`.

This page is generated from `p2pgan/record/schema.py` by `python -m p2pgan.record.reference`.

"""


def records_page() -> str:
    """The page `docs/reference/records.md`: the envelope, a table per kind, what lies in them."""
    classes = {node.name: node for node in _tree().body if isinstance(node, ast.ClassDef)}
    parts = ["## Every record\n\n" + _section(classes, "Envelope")]
    parts += [
        f"## `{kind}`\n\n" + _section(classes, body.__name__) for kind, body in schema.KINDS.items()
    ]
    parts.append("## `Tally`\n\n" + _section(classes, "Tally"))
    return _HEAD.format(version=schema.SCHEMA) + "\n".join(parts)


def _tree() -> ast.Module:
    return ast.parse(inspect.getsource(schema))


def _section(classes: dict[str, ast.ClassDef], name: str) -> str:
    rows = [f"| `{field}` | {kind} | {text} |\n" for field, kind, text in _fields(classes, name)]
    about = _one_line(ast.get_docstring(classes[name]) or "")
    return f"{about}\n\n| field | type | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def _fields(classes: dict[str, ast.ClassDef], name: str) -> Iterator[tuple[str, str, str]]:
    """Name, type and description of each field, those of the base first."""
    node = classes[name]
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            yield from _fields(classes, base.id)
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
            yield field.target.id, _type(field.annotation), _one_line(str(text.value.value))


def _type(annotation: ast.expr) -> str:
    """The annotation in a reader's words; `| None` says that the field may be left out."""
    text = ast.unparse(annotation)
    if text.startswith("Annotated[datetime"):
        return "time"
    optional = text.removesuffix(" | None")
    shown = optional.replace("|", r"\|")  # a bare one would end the cell
    return f"`{shown}`" + ("" if optional == text else ", optional")


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    import sys

    sys.stdout.write(records_page())
