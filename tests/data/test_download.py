"""Downloads from a server on this machine: mirrors, checksums, resuming, archives."""

import contextlib
import gzip
import hashlib
import io
import os
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from p2pgan.data import catalog
from p2pgan.data.catalog import Remote
from p2pgan.data.download import Response, download, fetch, open_url, unpack_cifar
from p2pgan.errors import DataError

CONTENTS = bytes(range(256)) * 4000
"""About a megabyte: several chunks."""


@dataclass
class Server:
    """An HTTP server that serves `files` and remembers what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and `Range` header of each request."""
    with_ranges: bool = True
    cut_after_bytes: int | None = None
    """Close the connection after so many bytes of a body."""

    def remote(self, *folders: str, name: str = "file.gz", body: bytes = CONTENTS) -> Remote:
        sha256 = hashlib.sha256(body).hexdigest()
        return Remote(name, len(body), sha256, tuple(f"{self.url}/{each}/" for each in folders))


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            server.asked.append((self.path, wanted))
            body = server.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-") or 0) if wanted else 0
            if start and server.with_ranges:
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                body = body[start:]
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may hang up
                self.wfile.write(body[: server.cut_after_bytes])

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state))
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def get(remote: Remote, path: Path) -> list[int]:
    """Fetches; returns what progress was told."""
    seen: list[int] = []

    def progress(name: str, received_bytes: int, total_bytes: int) -> None:
        assert name == remote.name
        assert total_bytes == remote.size_bytes
        seen.append(received_bytes)

    fetch(remote, path, progress=progress, opener=open_url)
    return seen


def test_a_file_arrives_whole_and_progress_is_told(server: Server, tmp_path: Path) -> None:
    server.files["/a/file.gz"] = CONTENTS
    path = tmp_path / "file.gz"
    seen = get(server.remote("a"), path)
    assert path.read_bytes() == CONTENTS
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENTS)
    assert len(seen) > 1
    assert list(tmp_path.iterdir()) == [path], "no `.part` is left"


def test_the_next_mirror_is_tried(server: Server, tmp_path: Path) -> None:
    """The first does not have it, the second has something else of the same length."""
    server.files["/bad/file.gz"] = CONTENTS[::-1]
    server.files["/good/file.gz"] = CONTENTS
    get(server.remote("absent", "bad", "good"), tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENTS
    assert [path for path, _ in server.asked] == [
        "/absent/file.gz",
        "/bad/file.gz",
        "/good/file.gz",
    ]


@pytest.mark.parametrize("extra", [1, 10_000_000])
def test_more_than_was_promised_is_not_kept(server: Server, tmp_path: Path, extra: int) -> None:
    server.files["/a/file.gz"] = CONTENTS + bytes(extra)
    with pytest.raises(DataError, match="more bytes than"):
        get(server.remote("a"), tmp_path / "file.gz")
    assert not (tmp_path / "file.gz").exists()
    part = tmp_path / "file.gz.part"
    assert not part.exists() or part.stat().st_size <= len(CONTENTS)


def test_a_partial_file_is_continued(server: Server, tmp_path: Path) -> None:
    server.files["/a/file.gz"] = CONTENTS
    (tmp_path / "file.gz.part").write_bytes(CONTENTS[:1000])
    get(server.remote("a"), tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENTS
    assert server.asked == [("/a/file.gz", "bytes=1000-")]


def test_a_server_without_ranges_sends_everything_again(server: Server, tmp_path: Path) -> None:
    server.files["/a/file.gz"] = CONTENTS
    server.with_ranges = False
    (tmp_path / "file.gz.part").write_bytes(b"something else")
    get(server.remote("a"), tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENTS


def test_a_wrong_beginning_is_thrown_away(server: Server, tmp_path: Path) -> None:
    """Else every later attempt would continue it and fail."""
    server.files["/a/file.gz"] = CONTENTS
    (tmp_path / "file.gz.part").write_bytes(b"<html>please log in</html>")
    get(server.remote("a"), tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENTS
    assert [wanted for _, wanted in server.asked] == ["bytes=26-", ""]


def test_a_finished_partial_file_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "file.gz.part").write_bytes(CONTENTS)
    remote = Server(url="http://127.0.0.1:1").remote("a")
    assert get(remote, tmp_path / "file.gz") == []
    assert (tmp_path / "file.gz").read_bytes() == CONTENTS


def test_a_broken_connection_keeps_what_came_for_the_next_attempt(
    server: Server, tmp_path: Path
) -> None:
    server.files["/a/file.gz"] = CONTENTS
    server.cut_after_bytes = 5000
    with pytest.raises(DataError, match=r"ended after 5,000 of 1,024,000 bytes"):
        get(server.remote("a"), tmp_path / "file.gz")
    assert (tmp_path / "file.gz.part").read_bytes() == CONTENTS[:5000]
    server.cut_after_bytes = None
    get(server.remote("a"), tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENTS
    assert server.asked[-1] == ("/a/file.gz", "bytes=5000-")


def test_all_mirrors_down_is_one_line_with_each_reason(server: Server, tmp_path: Path) -> None:
    server.files["/bad/file.gz"] = CONTENTS[::-1]
    (tmp_path / "file.gz").write_bytes(b"what was there before")
    with pytest.raises(DataError) as caught:
        get(server.remote("absent", "bad"), tmp_path / "file.gz")
    line = str(caught.value)
    assert "one of 2 mirrors to serve `file.gz`" in line
    assert f"{server.url}/absent/: 404 Not Found" in line
    assert f"{server.url}/bad/: another SHA-256" in line
    assert "\n" not in line
    assert (tmp_path / "file.gz").read_bytes() == b"what was there before"


def test_no_network_is_one_clear_line(tmp_path: Path) -> None:
    def refused(request: urllib.request.Request) -> Response:
        raise urllib.error.URLError(OSError(-3, "Temporary failure in name resolution"))

    with pytest.raises(DataError, match="Temporary failure in name resolution") as caught:
        download("mnist", tmp_path, opener=refused)
    assert "try again when the network is there" in caught.value.hint
    assert "yann.lecun.com" in caught.value.got


def tiny_catalog(monkeypatch: pytest.MonkeyPatch, server: Server) -> dict[str, bytes]:
    """MNIST of four tiny files, served by the server; returns their contents by file name."""
    remotes, contents = [], {}
    for number, stem in enumerate(catalog.CONTENTS["mnist"]):
        plain = bytes([number]) * 100
        contents[f"{stem}.gz"] = gzip.compress(plain, mtime=0)
        server.files[f"/m/{stem}.gz"] = contents[f"{stem}.gz"]
        remotes.append(server.remote("m", name=f"{stem}.gz", body=contents[f"{stem}.gz"]))
        monkeypatch.setitem(catalog.CONTENTS["mnist"], stem, hashlib.sha256(plain).hexdigest())
    monkeypatch.setitem(catalog.REMOTES, "mnist", tuple(remotes))
    return contents


def test_a_data_set_is_fetched_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = tiny_catalog(monkeypatch, server)
    paths = download("mnist", tmp_path / "new" / "folder")
    assert {path.name: path.read_bytes() for path in paths} == contents
    assert len(server.asked) == 4
    assert download("mnist", tmp_path / "new" / "folder") == paths
    assert len(server.asked) == 4, "nothing is fetched twice"


def test_only_damaged_files_are_fetched_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = tiny_catalog(monkeypatch, server)
    paths = download("mnist", tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:-3])
    del server.asked[:]
    download("mnist", tmp_path)
    assert server.asked == [(f"/m/{paths[2].name}", "")]
    assert paths[2].read_bytes() == contents[paths[2].name]


def test_the_embedded_data_set_needs_no_download(tmp_path: Path) -> None:
    assert download("digits", tmp_path) == []


def test_an_unknown_data_set_gets_the_nearest_match(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean `mnist`"):
        download("mnits", tmp_path)


def test_a_folder_that_cannot_be_made_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="a folder with room to write in"):
        download("mnist", tmp_path / "file")


def archive(members: dict[str, bytes], *, link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        if link is not None:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    return buffer.getvalue()


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """CIFAR-10 batches of one record each, by name in the archive."""
    monkeypatch.setattr("p2pgan.data.download.CIFAR_BATCH_BYTES", 3073)
    bodies = {stem: bytes([n]) * 3073 for n, stem in enumerate(catalog.CONTENTS["cifar10"])}
    for stem, body in bodies.items():
        monkeypatch.setitem(catalog.CONTENTS["cifar10"], stem, hashlib.sha256(body).hexdigest())
    return {f"cifar-10-batches-bin/{stem}": body for stem, body in bodies.items()}


def test_only_the_batches_are_unpacked(tmp_path: Path, small_batches: dict[str, bytes]) -> None:
    """An archive cannot write outside the folder, nor anything that is not expected."""
    others = {"../evil": b"x", "cifar-10-batches-bin/readme.html": b"x", "/tmp/evil": b"x"}
    (tmp_path / "a.tar.gz").write_bytes(archive(others | small_batches))
    folder = tmp_path / "to"
    folder.mkdir()
    unpack_cifar(tmp_path / "a.tar.gz", folder)
    unpacked = {path.name: gzip.decompress(path.read_bytes()) for path in folder.iterdir()}
    assert unpacked == {f"{Path(name).name}.gz": body for name, body in small_batches.items()}
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz", "to"]


@pytest.mark.parametrize("damage", ["missing", "short", "link", "truncated", "no archive"])
def test_damaged_archives_are_one_clear_error(
    tmp_path: Path, small_batches: dict[str, bytes], damage: str
) -> None:
    name = "cifar-10-batches-bin/test_batch.bin"
    whole = archive(small_batches)
    without = {key: body for key, body in small_batches.items() if key != name}
    raw = {
        "missing": archive(without),
        "short": archive(without | {name: bytes(3072)}),
        "link": archive(without, link=name),
        "truncated": whole[: len(whole) // 2],
        "no archive": b"<html></html>",
    }[damage]
    path = tmp_path / "a.tar.gz"
    path.write_bytes(raw)
    with pytest.raises(DataError, match="expected the CIFAR-10 archive") as caught:
        unpack_cifar(path, tmp_path)
    assert caught.value.at == str(path)


def test_cifar_is_fetched_unpacked_and_not_fetched_again(
    server: Server,
    tmp_path: Path,
    small_batches: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = archive(small_batches)
    server.files["/c/cifar-10-binary.tar.gz"] = body
    remote = server.remote("c", name="cifar-10-binary.tar.gz", body=body)
    monkeypatch.setitem(catalog.REMOTES, "cifar10", (remote,))
    paths = download("cifar10", tmp_path)
    assert [path.name for path in paths] == [f"{stem}.gz" for stem in catalog.CONTENTS["cifar10"]]
    assert os.listdir(tmp_path) == ["cifar-10-batches-bin"], "the archive is removed"
    assert download("cifar10", tmp_path) == paths
    assert len(server.asked) == 1
