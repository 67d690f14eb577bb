"""Runs a grid: one cell after the other, each an ordinary simulated run, those that are there left
alone."""

import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from p2pgan.config import RunConfig, config_from, keys, read_settings, to_tables, value_of
from p2pgan.errors import P2PGanError, RecordError
from p2pgan.grid import AXES, Grid, Planned, in_order, plan
from p2pgan.record.comparison import Cell, ComparisonDirectory, Manifest
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.run import Finished, prepared, simulate

MACHINE_TABLES = ("device", "daemon", "engine")
"""Parts of the configuration that say how the machine is used, and not what is run."""

LOCK = ".lock"
"""In the directory; held while cells are run."""


class Watcher(Protocol):
    """Who is told how a comparison goes."""

    def planned(self, todo: Sequence[Planned], finished: int) -> None:
        """These will be run; so many others are there."""

    def replaced(self, cell: Cell) -> None:
        """What there is of this cell is not a whole run, and is removed."""

    def started(self, planned: Planned) -> None:
        """This cell begins."""

    def on_round(self, simulation: Lockstep) -> None:
        """A round of it is over."""

    def on_interrupt(self) -> None:
        """Somebody wants to stop; the round will be finished."""

    def ended(self, planned: Planned, summary: Mapping[str, Any]) -> None:
        """This cell is over, or was interrupted."""


def compare(
    base: RunConfig,
    grid: Grid,
    directory: ComparisonDirectory,
    data_dir: Path,
    watcher: Watcher,
) -> bool:
    """Runs the cells that are not there yet; whether an interrupt ended it before the last.

    The first seed comes first, and small overlays before large ones, so that a comparison that is
    stopped early has something to compare.

    Args:
        base: what all cells share.
        grid: the axes. A directory of the same base and varied keys is extended.
        directory: where; new, empty, or of an earlier comparison.
        data_dir: folder of the data sets.
        watcher: is told how it goes.
    Raises:
        RecordError: for a directory of another comparison, naming a key that differs, or one that
            another process works on.
        P2PGanError: for whatever cannot be run, before anything is written, or what the disk
            refuses.
    """
    all_planned = [_resolved(planned, data_dir) for planned in plan(base, grid)]
    _state(base, grid, all_planned, directory)  # whatever is wrong is told before a file is made
    with _alone(directory):
        manifest, todo = _state(base, grid, all_planned, directory)
        directory.write(manifest)
        todo.sort(key=lambda planned: (planned.cell.seed, planned.cell.nodes))
        watcher.planned(todo, len(all_planned) - len(todo))
        try:
            for left, planned in zip(range(len(todo) - 1, -1, -1), todo, strict=True):
                done = _run(planned, directory, data_dir, watcher)
                if done.summary["interrupted"] or (done.is_stop_wanted and left):
                    return True
            return False
        except KeyboardInterrupt:  # between two runs, or a second one in the midst of saving
            return True


def _resolved(planned: Planned, data_dir: Path) -> Planned:
    """The cell with the configuration that its run will have.

    Raises:
        P2PGanError: if it cannot be run.
    """
    try:
        return Planned(planned.cell, prepared(planned.config, data_dir).config)
    except P2PGanError as error:
        at = f"{error.at}, in the run `{planned.cell.run}`"
        raise type(error)(expected=error.expected, got=error.got, at=at, hint=error.hint) from None


def _state(
    base: RunConfig, grid: Grid, all_planned: Sequence[Planned], directory: ComparisonDirectory
) -> tuple[Manifest, list[Planned]]:
    """What the directory is to say, and the cells that have to be run.

    Raises:
        RecordError: for a directory or a run of another comparison, or a place that is taken.
    """
    before = _before(directory)
    cells = [planned.cell for planned in all_planned]
    manifest = _joined(before, base, grid, cells, str(directory.compare_toml))
    todo = [planned for planned in all_planned if not _is_finished(planned, directory)]
    for planned in todo:
        _check_ours(planned.cell, before, directory)
    return manifest, todo


def _run(
    planned: Planned, directory: ComparisonDirectory, data_dir: Path, watcher: Watcher
) -> Finished:
    """One cell from its start."""
    path = directory.run(planned.cell).path
    if path.exists():
        watcher.replaced(planned.cell)
        _remove(path)
    watcher.started(planned)
    done = simulate(planned.config, data_dir, path, watcher.on_round, watcher.on_interrupt)
    watcher.ended(planned, done.summary)
    return done


def _before(directory: ComparisonDirectory) -> Manifest | None:
    """What an earlier comparison left in the directory."""
    path = directory.path
    if directory.compare_toml.exists():
        return directory.read()
    if path.exists() and (not path.is_dir() or any(p.name != LOCK for p in path.iterdir())):
        raise RecordError(
            expected="a new or empty folder, or one of `p2pgan compare`",
            got="one with something else in it" if path.is_dir() else "a file",
            at=str(path),
            hint="choose another place with `--out`",
        )
    return None


def _joined(
    before: Manifest | None, base: RunConfig, grid: Grid, cells: Sequence[Cell], at: str
) -> Manifest:
    """The cells that were there and those that are asked for."""
    vary = list(grid.vary)
    if before is None:
        tables = {key: value for key, value in to_tables(base).items() if key not in AXES}
        return Manifest(vary=tuple(vary), cells=tuple(cells), base=tables)
    if odd := sorted(set(vary) ^ set(before.vary)):
        was_varied = odd[0] in before.vary
        expected = f"`{odd[0]}` to be {'varied' if was_varied else 'the same in all runs'}"
        raise _another(expected, "`--vary`" + (" without it" if was_varied else " with it"), at)
    shared = [key for key in keys() if key not in {*AXES, *vary}]
    _check_equal(config_from(before.base, at=at), base, shared, at)
    known = {cell.run: cell for cell in (*before.cells, *cells)}
    ordered = in_order(list(known.values()), before.vary)
    return Manifest(vary=before.vary, cells=tuple(ordered), base=before.base)


def _is_finished(planned: Planned, directory: ComparisonDirectory) -> bool:
    """Whether the cell's run is there, whole, and the one that is asked for.

    Raises:
        RecordError: if it is another one, naming a key that differs.
    """
    there = directory.run(planned.cell)
    if not there.run_toml.is_file():
        return False
    at = str(there.run_toml)
    _check_equal(config_from(read_settings(there.run_toml), at=at), planned.config, keys(), at)
    with suppress(RecordError):
        return there.read_summary().get("interrupted") is False
    return False


def _check_equal(there: RunConfig, asked: RunConfig, of: Sequence[str], at: str) -> None:
    """Refuses another configuration, the use of the machine apart."""
    for key in of:
        if key.partition(".")[0] not in MACHINE_TABLES:
            was, wanted = value_of(there, key), value_of(asked, key)
            if was != wanted:
                raise _another(f"`{key}` to be `{was}`, as it is there", f"`{wanted}`", at)


def _another(expected: str, got: str, at: str) -> RecordError:
    hint = "choose another place with `--out` for another comparison"
    return RecordError(expected=expected, got=got, at=at, hint=hint)


def _check_ours(cell: Cell, before: Manifest | None, directory: ComparisonDirectory) -> None:
    """Refuses to remove what no comparison has made: a cell's place that holds something else."""
    path = directory.run(cell).path
    known = {cell.run for cell in before.cells} if before else set()
    is_ours = cell.run in known and path.is_dir() and not path.is_symlink()
    if is_ours:
        parts = [p.name for p in path.iterdir() if not p.name.startswith(".run.toml.")]
        is_ours = not parts or "run.toml" in parts
    if path.exists() and not is_ours:
        raise RecordError(
            expected=f"a free place for the run `{cell.run}`",
            got="something that no comparison has made",
            at=str(path),
            hint="move it away, or choose another place with `--out`",
        )


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise RecordError(
            expected="an unfinished run that can be removed",
            got=error.strerror or str(error),
            at=str(path),
        ) from None


@contextmanager
def _alone(directory: ComparisonDirectory) -> Iterator[None]:
    """While entered, no other process runs the cells of the directory; the lock ends with us.

    Raises:
        RecordError: if another one does already, or nothing can be written.
    """
    path = directory.path / LOCK
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    except OSError as error:
        raise RecordError(
            expected="a folder in which a comparison can be made",
            got=error.strerror or str(error),
            at=str(directory),
            hint="choose another place with `--out`",
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RecordError(
                expected="a directory that no other comparison works on",
                got="one that is in use",
                at=str(directory),
                hint="wait for it, or choose another place with `--out`",
            ) from None
        yield
