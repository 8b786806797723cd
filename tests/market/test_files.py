"""Input files: where a name leads, one read for hash and content, and one line for everything that goes wrong."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from workbench.errors import DataError, UnavailableError
from workbench.market import files
from workbench.market.files import find_input, gunzip, read_input, show

CONTENT = b"date,symbol\n2023-01-02,NA\n"


def complaint(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert len(text.splitlines()) == 1 and text.isprintable()
    return text


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Four empty folders: the current one, the project's, the packaged data, a checkout's top level."""
    folders = {name: tmp_path / name for name in ("here", "project", "packaged", "checkout")}
    for folder in folders.values():
        folder.mkdir()
    (folders["checkout"] / "pyproject.toml").touch()
    monkeypatch.chdir(folders["here"])
    monkeypatch.setenv("WORKBENCH_PROJECT", str(folders["project"]))
    monkeypatch.setattr(files, "PACKAGE_DATA", folders["packaged"])
    monkeypatch.setattr(files, "_CHECKOUT", folders["checkout"])
    return folders


def test_a_relative_name_is_found_in_the_current_folder_then_the_project_then_the_package_then_the_checkout(
    places: dict[str, Path],
) -> None:
    for place in ("checkout", "packaged", "project", "here"):
        (places[place] / "sentiment_data.csv").write_text(place)
        file, data = read_input("sentiment_data.csv")
        assert data.decode() == place
        assert file.name == "sentiment_data.csv"
        assert file.path == os.path.realpath(places[place] / "sentiment_data.csv")


def test_only_the_shipped_table_is_looked_for_in_a_checkout(places: dict[str, Path]) -> None:
    (places["checkout"] / "other.csv").write_text("x")
    with pytest.raises(DataError, match="no such file"):
        find_input("other.csv")
    (places["checkout"] / "sentiment_data.csv").write_text("x")
    (places["checkout"] / "pyproject.toml").unlink()
    with pytest.raises(DataError, match="no such file"):
        find_input("sentiment_data.csv")


def test_a_file_is_read_once_and_the_hash_is_that_of_the_bytes_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(CONTENT))
    reads = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self) or read_bytes(self))
    file, data = read_input(path)
    assert len(reads) == 1
    assert data == gzip.compress(CONTENT)
    assert file.sha256 == hashlib.sha256(data).hexdigest()


def test_a_missing_file_is_named_with_the_nearest_name_around(places: dict[str, Path]) -> None:
    (places["packaged"] / "sentiment_data.csv").touch()
    with pytest.raises(DataError) as error:
        read_input("sentimant_data.csv")
    assert complaint(error) == (
        "sentimant_data.csv: no such file in the current folder, WORKBENCH_PROJECT or the packaged data; "
        "did you mean sentiment_data.csv?"
    )
    with pytest.raises(DataError, match="did you mean simulated"):
        read_input("simulatd", also=["simulated"])


@pytest.mark.parametrize(
    "name", ["", "  ", "no\nsuch.csv", "nul\0.csv", "x" * 5000, "/no/such/folder/x.csv", "~nobody/x"]
)
def test_names_that_cannot_be_files_are_one_line(places: dict[str, Path], name: str) -> None:
    with pytest.raises(DataError) as error:
        read_input(name)
    assert len(complaint(error)) < 400


def test_a_folder_a_pipe_and_an_unreadable_file_are_said_to_be_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="is a folder") as error:
        read_input(tmp_path)
    complaint(error)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read_input(tmp_path / "pipe")

    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (tmp_path / "secret.csv").touch()
    with pytest.raises(DataError, match=r"secret\.csv: cannot be read: Permission denied"):
        read_input(tmp_path / "secret.csv")


def test_a_file_above_the_limit_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    (tmp_path / "big.csv").write_bytes(b"x" * 11)
    with pytest.raises(DataError, match="must be at most 10 bytes, got 11"):
        read_input(tmp_path / "big.csv")


def test_gzip_of_several_members_and_padding_is_one_file_and_plain_bytes_pass() -> None:
    members = gzip.compress(CONTENT[:9]) + gzip.compress(CONTENT[9:])
    assert gunzip("x", members, "/x.gz") == CONTENT
    assert gunzip("x", members + b"\0" * 20, "/x") == CONTENT
    assert gunzip("x", CONTENT, "/x.csv") == CONTENT
    assert gunzip("x", CONTENT, "https://host/x.csv.gz") == CONTENT
    assert gunzip("x", gzip.compress(b""), "/x.gz") == b""


def test_gzip_truncated_anywhere_is_an_error() -> None:
    packed = gzip.compress(CONTENT)
    for length in range(2, len(packed)):
        with pytest.raises(DataError, match="x: is truncated gzip") as error:
            gunzip("x", packed[:length], "/x.gz")
        complaint(error)


def test_damaged_gzip_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = bytearray(gzip.compress(CONTENT))
    packed[-6] ^= 1
    for data, words in (
        (bytes(packed), "damaged gzip"),
        (gzip.compress(CONTENT) + b"rest", "4 bytes that are not gzip"),
        (CONTENT, "named .gz but is not gzip"),
        (gzip.compress(CONTENT) + gzip.compress(CONTENT)[:-3], "truncated"),
    ):
        with pytest.raises(DataError, match=words) as error:
            gunzip("x", data, "/x.gz")
        complaint(error)
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="unpack to at most 1,000 bytes"):
        gunzip("bomb", gzip.compress(b"0" * 1001), "/bomb.gz")
    assert len(gunzip("x", gzip.compress(b"0" * 1000), "/x.gz")) == 1000


def test_show_keeps_a_message_on_one_line() -> None:
    assert show("a\nb\x00\ud800") == r"a\nb\x00\ud800"
    assert show("x" * 100, 10) == "xxxxxxx..."


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/table.csv")
            self.end_headers()
        elif self.path == "/table.csv":
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)
        elif self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(CONTENT)
        elif self.path == "/hangs":
            threading.Event().wait(2)
        else:
            self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.parametrize("path", ["/table.csv", "/moved"])
def test_an_address_is_fetched_and_hashed_like_a_file(address: str, path: str) -> None:
    file, data = read_input(address + path)
    assert data == CONTENT
    assert (file.name, file.path) == (address + path, address + path)
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_an_address_that_does_not_deliver_is_unavailable(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "READ_SECONDS", 0.2)
    for path, words in (("/none", "answered 404"), ("/cut", "cannot be fetched"), ("/hangs", "cannot be fetched")):
        with pytest.raises(UnavailableError, match=words) as error:
            read_input(address + path)
        complaint(error)
        assert error.value.exit_code == 3
    with pytest.raises(UnavailableError, match="cannot be fetched") as error:
        read_input("http://127.0.0.1:9/closed.csv")
    complaint(error)
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    with pytest.raises(UnavailableError, match="more than 10 bytes"):
        read_input(address + "/table.csv")


@pytest.mark.parametrize("address", ["http://", "https:///x.csv", "http://[::1/x", "http://a:b:c/x", "http://\n/x"])
def test_an_address_that_is_none_is_an_input_error(address: str) -> None:
    with pytest.raises(DataError) as error:
        read_input(address)
    complaint(error)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(DataError) as error:
        read_input("https://me:hunter2@host.example/x.csv")
    assert "hunter2" not in complaint(error)


def test_loading_a_market_imports_no_network_and_no_dataset_module() -> None:
    code = (
        "import sys, workbench.market.load as load; load.is_simulated(('A',)); "
        "print([m for m in ('httpx', 'pyarrow.dataset', 'pyarrow.parquet', 'scipy', 'yfinance') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
