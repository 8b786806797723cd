"""The README is true: its commands run, its Python runs, its links lead somewhere."""

import http.server
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from fake_yahoo import made_up_bars, running_fake

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip()
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
    if "workbench" in line and not line.startswith("make")
]

POSTS = """timestamp,symbol,text,likes,comments,impressions
2022-03-01T15:30:00,AAA,"bullish, going long",20,3,900
2022-03-01T16:30:00,AAA,"bearish, selling all",5,1,80
2022-03-02T10:00:00,BBB,nothing to see,1,0,10
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass


@pytest.fixture(scope="module")
def address(real_data: Path) -> Iterator[str]:
    """Serve the real data, as the public address in the README does."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(real_data)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what a reader of the README would have: a table of one's own, and the module of its example."""
    table = pd.read_csv(ROOT / "sentiment_data.csv", nrows=20_000)
    names = {"date": "day", "symbol": "ticker", "twitterLikes": "favourites", "twitterComments": "replies"}
    mine = table.rename(columns=names)[list(names.values())]
    mine["ticker"] = mine["ticker"].str.replace("SIM", "OWN")
    mine.to_csv(tmp_path / "mine.csv", index=False)
    prices = pd.read_parquet(ROOT / "workbench" / "_data" / "simulated_prices.parquet")
    prices.columns = ["SPY" if c == "SIMIDX" else c.replace("SIM", "OWN") for c in prices.columns]
    prices.to_csv(tmp_path / "my_prices.csv", index=False)
    signal = next(block for language, block in BLOCKS if language == "python" and "register_signal(" in block)
    (tmp_path / "my_signals.py").write_text(signal, encoding="utf-8")
    (tmp_path / "studies.yaml").write_text(next(b for language, b in BLOCKS if language == "yaml"), encoding="utf-8")
    (tmp_path / "posts.csv").write_text(POSTS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def yahoo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let commands that ask Yahoo ask a local fake that knows the reader's symbols."""
    with running_fake() as fake:
        fake.add(made_up_bars([*(f"OWN{number:03d}" for number in range(1, 86)), "SPY"], start="2020-01-02", days=600))
        monkeypatch.setenv("WORKBENCH_YAHOO_URL", fake.url)
        monkeypatch.setenv("WORKBENCH_YAHOO_PER_SECOND", "500")
        monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
        yield


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of the README as a shell would, with this interpreter's `workbench`."""
    bin_folder = str(Path(sys.executable).parent)
    environment = dict(os.environ, PATH=bin_folder + os.pathsep + os.environ["PATH"])
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 9


@pytest.mark.parametrize("command", [c for c in COMMANDS if "https://" not in c])
@pytest.mark.usefixtures("yahoo")
def test_commands_of_the_readme_run(command: str, project: Path) -> None:
    done = run(command, project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.real
@pytest.mark.parametrize("command", [c for c in COMMANDS if "https://" in c])
def test_the_run_on_real_data_of_the_readme_shows_the_published_figures(
    command: str, address: str, real_data: Path, tmp_path: Path
) -> None:
    shutil.copy(real_data / "prices.csv.gz", tmp_path / "prices.csv.gz")
    done = run(re.sub(r"https://\S+/sentiment_data\.csv", f"{address}/sentiment_data.csv", command), tmp_path)
    assert done.returncode == 0, done.stderr
    page = Path(tmp_path, done.stdout.strip()).read_text(encoding="utf-8")
    assert "reproduced, wrong arithmetic included" in page
    assert "-24.81 %" in page
    assert "+11.26 %" in page


@pytest.mark.parametrize("name", ["run_study(", "run_sweep("])
def test_the_python_of_the_readme_runs(name: str, tmp_path: Path) -> None:
    code = next(block for language, block in BLOCKS if language == "python" and name in block)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_files_that_the_readme_names_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for name in re.findall(r"^\| `([^`]+)` \|", README, flags=re.MULTILINE):
        assert (ROOT / name).exists(), name


def test_commands_are_split_like_a_shell_would() -> None:
    for command in COMMANDS:
        assert shlex.split(command)
