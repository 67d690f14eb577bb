"""Fetches data sets from public mirrors: resumable, checked, and never in the way of good files.

What is on its way lies in a `.part` file; only what matches its SHA-256 gets the final name. The
next attempt, at another mirror or another day, goes on where the last one stopped.
"""

import gzip
import hashlib
import http.client
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from p2pgan.data.catalog import CIFAR_BATCH_BYTES, CIFAR_FOLDER, CONTENTS, FOLDERS, REMOTES, Remote
from p2pgan.data.datasets import DATASETS, find_file
from p2pgan.data.verify import is_original
from p2pgan.errors import DataError, unknown_name

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that have come, and the bytes that it has."""

_TIMEOUT_S = 30.0
"""Seconds of silence after which a mirror is given up."""

_CHUNK_BYTES = 1 << 18


class Response(Protocol):
    """What is used of an HTTP response."""

    status: int
    headers: Any

    def read(self, size: int, /) -> bytes: ...
    def __enter__(self) -> "Response": ...
    def __exit__(self, *stop: object) -> object: ...


Opener = Callable[[urllib.request.Request], Response]


class _MirrorError(Exception):
    """One mirror failed; the next one may not."""


def open_url(request: urllib.request.Request) -> Response:
    """The opener used unless a test hands in another."""
    response: Response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    return response


def _silent(name: str, received_bytes: int, total_bytes: int) -> None:
    del name, received_bytes, total_bytes


def download(
    name: str, data_dir: Path, *, progress: Progress = _silent, opener: Opener = open_url
) -> list[Path]:
    """Fetches what is not there yet of a data set.

    Args:
        name: one of `datasets.DATASETS`; `digits` is embedded, so nothing is fetched.
        data_dir: the folder that holds one folder per data set; made if need be.
        progress: told how far each file is.
        opener: opens a request; `urllib` by default.
    Returns:
        The data set's files, new or already there.
    Raises:
        DataError: for an unknown name, if no mirror serves a file, or if it cannot be written.
    """
    if name not in DATASETS:
        raise unknown_name(DataError, "a known data set", name, DATASETS, "the data set's name")
    if name not in REMOTES:
        return []
    folder = data_dir / FOLDERS[name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if name == "cifar10":
            _download_archive(data_dir, folder, progress, opener)
        else:
            for remote in REMOTES[name]:
                if not is_original(name, remote.name.removesuffix(".gz"), data_dir):
                    fetch(remote, folder / remote.name, progress=progress, opener=opener)
    except OSError as error:
        raise DataError(
            expected="a folder with room to write in",
            got=error.strerror or str(error),
            at=error.filename or str(folder),
            hint="`P2PGAN_DATA_DIR` names another folder",
        ) from None
    return [path for stem in CONTENTS[name] if (path := find_file(folder, stem))]


def fetch(remote: Remote, path: Path, *, progress: Progress, opener: Opener) -> None:
    """Fetches one file from the first mirror that serves it whole and unchanged.

    Args:
        remote: what to fetch and from where.
        path: its final name; the `.part` file lies beside it.
        progress: told how far it is.
        opener: opens a request.
    Raises:
        DataError: if all mirrors fail, with each one's reason.
        OSError: if it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    reasons = []
    for mirror in remote.mirrors:
        try:
            _fetch_from(mirror, remote, part, progress, opener)
        except _MirrorError as error:
            reasons.append(f"{mirror}: {error}")
        else:
            os.replace(part, path)
            return
    raise DataError(
        expected=f"one of {len(remote.mirrors)} mirrors to serve `{remote.name}`",
        got="; ".join(reasons),
        at=str(path.parent),
        hint="try again when the network is there: what has come so far is kept",
    )


def _fetch_from(
    mirror: str, remote: Remote, part: Path, progress: Progress, opener: Opener
) -> None:
    """Completes the `.part` file.

    One that was resumed and turns out wrong gets a fresh start: the fault may lie in its beginning.
    """
    resumed = part.exists()
    _append(mirror, remote, part, progress, opener)
    if resumed and part.stat().st_size >= remote.size_bytes and not _matches(part, remote):
        part.unlink()
        _append(mirror, remote, part, progress, opener)
    size_bytes = part.stat().st_size
    if size_bytes < remote.size_bytes:
        raise _MirrorError(f"ended after {size_bytes:,} of {remote.size_bytes:,} bytes")
    if not _matches(part, remote):
        part.unlink()
        raise _MirrorError("another SHA-256 than the publishers' file")


def _append(mirror: str, remote: Remote, part: Path, progress: Progress, opener: Opener) -> None:
    """Asks for the bytes still missing and appends what comes, never more than the file has."""
    have_bytes = part.stat().st_size if part.exists() else 0
    if have_bytes >= remote.size_bytes:
        return
    request = urllib.request.Request(mirror + remote.name, headers={"User-Agent": "p2pgan"})
    if have_bytes:
        request.add_header("Range", f"bytes={have_bytes}-")
    try:
        response = opener(request)
    except urllib.error.HTTPError as error:
        error.close()
        raise _MirrorError(f"{error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorError(_reason(error)) from None
    with response:
        starts_over = not _continues(response, have_bytes)
        have_bytes = 0 if starts_over else have_bytes
        with part.open("wb" if starts_over else "ab") as file:
            for chunk in _chunks(response, remote.size_bytes - have_bytes):
                file.write(chunk)
                have_bytes += len(chunk)
                progress(remote.name, have_bytes, remote.size_bytes)


def _continues(response: Response, have_bytes: int) -> bool:
    """Whether the server goes on where we asked it to; many send the whole file instead."""
    came = str(response.headers.get("Content-Range", ""))
    return response.status == 206 and came.startswith(f"bytes {have_bytes}-")


def _chunks(response: Response, limit_bytes: int) -> Iterator[bytes]:
    """What the server sends, up to a limit; one byte more than that is a failure."""
    while True:
        try:
            chunk = response.read(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _MirrorError(_reason(error)) from None
        if not chunk:
            return
        limit_bytes -= len(chunk)
        if limit_bytes < 0:
            raise _MirrorError("more bytes than the publishers' file has")
        yield chunk


def _matches(part: Path, remote: Remote) -> bool:
    with part.open("rb") as file:
        return (
            part.stat().st_size == remote.size_bytes
            and hashlib.file_digest(file, "sha256").hexdigest() == remote.sha256
        )


def _reason(error: Exception) -> str:
    """One line of what urllib or a socket said."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return " ".join(str(reason).split()) or type(error).__name__


def _download_archive(data_dir: Path, folder: Path, progress: Progress, opener: Opener) -> None:
    """CIFAR-10 comes as one archive, which is unpacked and then removed."""
    if all(is_original("cifar10", stem, data_dir) for stem in CONTENTS["cifar10"]):
        return
    (remote,) = REMOTES["cifar10"]
    archive = data_dir / remote.name
    fetch(remote, archive, progress=progress, opener=opener)
    unpack_cifar(archive, folder)
    archive.unlink()


def unpack_cifar(archive: Path, folder: Path) -> None:
    """Unpacks the batches of a CIFAR-10 archive, gzipped one by one, and nothing else.

    Only regular members of the expected names and size are read, and their bytes are written under
    names of our own: nothing in the archive decides where anything goes.

    Raises:
        DataError: if it is no such archive or lacks a batch.
    """
    wanted = {f"{CIFAR_FOLDER}/{stem}": stem for stem in CONTENTS["cifar10"]}
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                stem = wanted.get(member.name)
                if stem and member.isfile() and member.size == CIFAR_BATCH_BYTES:
                    _pack(members.extractfile(member), folder / f"{stem}.gz")
                    del wanted[member.name]
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _bad_archive(archive, f"`{error}`") from None
    if wanted:
        raise _bad_archive(archive, f"no `{min(wanted)}` of {CIFAR_BATCH_BYTES:,} bytes")


def _pack(source: IO[bytes] | None, path: Path) -> None:
    assert source is not None, "a regular member has contents"
    part = path.with_name(f"{path.name}.part")
    with source, gzip.open(part, "wb", compresslevel=1) as packed:
        packed.write(source.read())
    os.replace(part, path)


def _bad_archive(archive: Path, got: str) -> DataError:
    hint = "remove it and download again"
    return DataError(expected="the CIFAR-10 archive", got=got, at=str(archive), hint=hint)
