"""CSV files about nodes: every mistake has its place."""

from pathlib import Path

import pytest

from p2pgan.errors import ConfigError
from p2pgan.sim.virtual.tables import Row, read_table

NODES = ("ann", "bob", "eve")


def table(folder: Path, text: str) -> list[Row]:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return read_table(str(path), ("a", "b"), NODES, "virtual.x")


def test_columns_and_lines_come_in_any_order(tmp_path: Path) -> None:
    text = '\ufeffb, node ,a\r\n1,bob,2\r\n\r\n3.5,"ann",4\r\n5,eve,-6e1\r\n7,bob,8\r\n'
    rows = table(tmp_path, text)
    assert [(row.node, row.numbers) for row in rows] == [
        ("bob", (2, 1)),
        ("ann", (4, 3.5)),
        ("eve", (-60, 5)),
        ("bob", (8, 7)),
    ]
    assert rows[1].at == f"virtual.x: {tmp_path / 'table.csv'}: line 4"


@pytest.mark.parametrize(
    ("text", "expected", "got", "line"),
    [
        ("", "columns `node`, `a`, `b`", "``", ""),
        ("node,a\n", "columns `node`, `a`, `b`", "`node,a`", ""),
        ("node,a,b,c\n", "columns `node`, `a`, `b`", "`node,a,b,c`", ""),
        ("node,a,b\nann,1\n", "3 values", "`ann,1`", ": line 2"),
        ("node,a,b\nann,1,2\nbob,1,2,3\n", "3 values", "`bob,1,2,3`", ": line 3"),
        ("node,a,b\nann,1,two\n", "a number", "`two`", ": line 2"),
        ("node,a,b\nann,1,inf\n", "a number", "`inf`", ": line 2"),
        ("node,a,b\nbab,1,2\n", "a node of the run", "`bab`", ": line 2"),
        ("node,a,b\nbob,1,2\n", "a line for every node", "none for `ann`, `eve`", ""),
        ('node,a,b\nann,"1,2\n', "a CSV file that can be read", "unexpected end of data", ""),
    ],
)
def test_a_wrong_table_is_refused(
    tmp_path: Path, text: str, expected: str, got: str, line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        table(tmp_path, text)
    assert expected in caught.value.expected
    assert caught.value.got == got
    assert caught.value.at == f"virtual.x: {tmp_path / 'table.csv'}{line}"


def test_the_nearest_node_is_the_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean `bob`"):
        table(tmp_path, "node,a,b\nbobb,1,2\n")


def test_many_missing_nodes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("node,a\n0,1\n")
    with pytest.raises(ConfigError, match="none for `1`, `2`, `3`, `4`, `5` and 3 more"):
        read_table(str(path), ("a",), [str(node) for node in range(9)], "virtual.x")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file.* at virtual\.x: .*none\.csv"):
        read_table(str(tmp_path / "none.csv"), ("a",), NODES, "virtual.x")
    (tmp_path / "bytes.csv").write_bytes(b"node,a\n\xff,1\n")
    with pytest.raises(ConfigError, match=r"can't decode.* at virtual\.x: .*bytes\.csv"):
        read_table(str(tmp_path / "bytes.csv"), ("a",), NODES, "virtual.x")
