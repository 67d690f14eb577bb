"""Runs a grid: one cell after the other, each an ordinary simulated run, those that are there left
alone."""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from p2pgan.config import RunConfig, config_from, keys, read_settings, to_tables, value_of
from p2pgan.errors import ConfigError, P2PGanError, RecordError, unknown_name
from p2pgan.grid import AXES, Grid, Planned, in_order, plan
from p2pgan.mixing.algorithms import ALGORITHMS
from p2pgan.record.comparison import Cell, ComparisonDirectory, Manifest, decides_runs
from p2pgan.runs import commit, versions
from p2pgan.sim.run import Finished, prepared, simulate
from p2pgan.sim.simulation import Simulation

LOCK = ".lock"
"""In the directory; held while cells are run."""


class Watcher(Protocol):
    """Who is told how a comparison goes."""

    def planned(self, todo: Sequence[Planned], finished: int) -> None:
        """These will be run; so many others are there."""

    def mixed(self, runs: Sequence[str]) -> None:
        """These are there, made by other code than the rest will be."""

    def replaced(self, cell: Cell) -> None:
        """What there is of this cell is not a whole run, and is removed."""

    def started(self, planned: Planned) -> None:
        """This cell begins."""

    def on_round(self, simulation: Simulation) -> None:
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
        _sweep(manifest, directory)
        todo.sort(key=lambda planned: (planned.cell.seed, planned.cell.nodes))
        watcher.planned(todo, len(all_planned) - len(todo))
        others = _of_other_code(all_planned, todo, directory)
        if todo and others:
            watcher.mixed(others)
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
    known = {cell.run for cell in before.cells} if before else set()
    todo = [
        planned
        for planned in all_planned
        if not _is_finished(planned, directory, planned.cell.run in known)
    ]
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
        _remove(path, _aside(path))
    watcher.started(planned)
    done = simulate(planned.config, data_dir, path, watcher.on_round, watcher.on_interrupt)
    watcher.ended(planned, done.summary)
    return done


def _before(directory: ComparisonDirectory) -> Manifest | None:
    """What an earlier comparison left in the directory.

    Raises:
        RecordError: for something else, or an algorithm that nobody knows.
    """
    path = directory.path
    if directory.compare_toml.exists():
        manifest = directory.read()
        for name in (cell.algorithm for cell in manifest.cells):
            if name not in ALGORITHMS:
                at = str(directory.compare_toml)
                raise unknown_name(RecordError, "an algorithm", name, ALGORITHMS, at)
        return manifest
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


def _is_finished(planned: Planned, directory: ComparisonDirectory, is_known: bool) -> bool:
    """Whether the cell's run is there, whole, and the one that is asked for.

    Of a known cell, `compare.toml` says the same as a `run.toml` that cannot be read.

    Raises:
        RecordError: if it is another one, naming a key that differs.
    """
    there = directory.run(planned.cell)
    at = str(there.run_toml)
    try:
        config = config_from(read_settings(there.run_toml), at=at)
    except ConfigError:
        if not is_known:
            return False
    else:
        _check_equal(config, planned.config, keys(), at)
    try:
        there.summary.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RecordError(
            expected="a summary that can be read",
            got=error.strerror or str(error),
            at=str(there.summary),
            hint="without it nobody knows whether the run is finished",
        ) from None
    with suppress(RecordError):  # a torn one
        return there.read_summary().get("interrupted") is False
    return False


def _of_other_code(
    all_planned: Sequence[Planned], todo: Sequence[Planned], directory: ComparisonDirectory
) -> list[str]:
    """Finished runs that another commit or version has made."""
    now, missing = {"commit": commit() or "", **versions()}, {planned.cell.run for planned in todo}
    others = []
    for planned in all_planned:
        if planned.cell.run not in missing:
            with suppress(ConfigError):  # a damaged one says nothing
                if directory.run(planned.cell).made_by() != now:
                    others.append(planned.cell.run)
    return others


def _check_equal(there: RunConfig, asked: RunConfig, of: Sequence[str], at: str) -> None:
    """Refuses another configuration, the use of the machine apart, and names all that differs."""
    odd = [
        (key, value_of(there, key), value_of(asked, key))
        for key in of
        if decides_runs(key) and value_of(there, key) != value_of(asked, key)
    ]
    if odd:
        was = " and ".join(f"`{key}` to be `{value}`" for key, value, _ in odd)
        as_there = "as it is there" if len(odd) == 1 else "as they are there"
        raise _another(f"{was}, {as_there}", " and ".join(f"`{wanted}`" for *_, wanted in odd), at)


def _another(expected: str, got: str, at: str) -> RecordError:
    hint = (
        "with axes alone, the settings there are taken; "
        "choose another place with `--out` for another comparison"
    )
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


def _aside(path: Path) -> Path:
    """Where a run lies while it is removed."""
    return path.with_name(f".removed-{path.name}")


def _remove(path: Path, aside: Path) -> None:
    """Removes a run; one that is removed in part must not be taken for somebody's folder."""
    try:
        path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise RecordError(
            expected="an unfinished run that can be removed",
            got=error.strerror or str(error),
            at=str(path),
        ) from None


def _sweep(manifest: Manifest, directory: ComparisonDirectory) -> None:
    """Removes what an interrupt has left of runs that were being removed."""
    for cell in manifest.cells:
        aside = _aside(directory.run(cell).path)
        if aside.is_dir() and not aside.is_symlink():
            _remove(aside, aside)


def _lock(file: IO[bytes]) -> None:
    """Locks a file until it is closed, or says at once with an `OSError` that another has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl  # here, since Windows has none

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
            _lock(file)
        except OSError:
            raise RecordError(
                expected="a directory that no other comparison works on",
                got="one that is in use",
                at=str(directory),
                hint="wait for it, or choose another place with `--out`",
            ) from None
        yield
