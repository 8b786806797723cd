"""The README and the pages of docs/ are true: their commands and their Python run, and whatever they name is there."""

import ast
import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

import httpx
import pandas as pd
import pytest
import yaml
from fake_yahoo import made_up_bars, running_fake
from lines import IMAGE, check_line, compose_file, options_of_others, options_of_workbench
from pages import ANYTHING, ROOT, Block, Page, Reader, commands, differences, file_of, missing_lines
from served import free_port, serving

import workbench
from workbench.api.app import create_app
from workbench.api.bodies import AnalyzeRequest
from workbench.api.problems import STATUSES
from workbench.api.settings import Settings
from workbench.config import StudyConfig, Weighting
from workbench.losses import KINDS
from workbench.registry import find_signal, signal_names
from workbench.study import run_study

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


@cache
def tables() -> dict[str, str]:
    """Return a table of one's own, with column names of one's own, and its prices: file -> text."""
    table = pd.read_csv(ROOT / "sentiment_data.csv", nrows=20_000)
    names = {"date": "day", "symbol": "ticker", "twitterLikes": "favourites", "twitterComments": "replies"}
    mine = table.rename(columns=names)[list(names.values())]
    mine["ticker"] = mine["ticker"].str.replace("SIM", "OWN")
    prices = pd.read_parquet(ROOT / "workbench" / "_data" / "simulated_prices.parquet")
    prices.columns = ["SPY" if c == "SIMIDX" else c.replace("SIM", "OWN") for c in prices.columns]
    return {"mine.csv": mine.to_csv(index=False), "my_prices.csv": prices.to_csv(index=False)}


def write_tables(folder: Path) -> None:
    """Write these tables."""
    for name, text in tables().items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what a reader of the README would have: a table of one's own, and the module of its example."""
    write_tables(tmp_path)
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


@pytest.mark.parametrize("name", ["run_study(", "run_sweep(", "study_form("])
def test_the_python_of_the_readme_runs(name: str, tmp_path: Path) -> None:
    code = next(block for language, block in BLOCKS if language == "python" and name in block)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def percent(text: str) -> float:
    """Return the number of a cell such as **+3.89 %**."""
    return float(re.sub(r"[*%p ]", "", text))


@pytest.mark.real
def test_the_figures_of_the_readme_are_those_of_the_real_data(real_data: Path, tmp_path: Path) -> None:
    market = workbench.load_market(real_data / "sentiment_data.csv", real_data / "prices.csv.gz")
    found = run_study(StudyConfig(), market).published
    assert found is not None
    variants = found["corrected"]["variants"]
    rows = {
        "as published": found["published"],
        "its recipe, run again, mistakes included": found["reproduced"],
        "the same trades, right arithmetic, back to target every day": variants["LOOK-AHEAD lag 0, daily to target"],
        "the same trades, right arithmetic, weights drift": variants["LOOK-AHEAD lag 0, drifting"],
        "traded a day after the signal is complete, 10 bp of costs": variants["causal lag 1, 10 bps"],
    }
    section = README.partition("\n## The honest numbers\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in re.findall(r"^\|.*\|$", section, re.M)[2:]]
    shown = {name.strip("*"): [percent(cell) for cell in cells] for name, *cells in lines}
    names = ("total_portfolio_return", "total_benchmark_return", "excess_return")
    assert shown == {what: [round(100 * row[name], 2) for name in names] for what, row in rows.items()}
    (without,) = re.findall(r"without MRO the last row is (\S+ %)", section)
    assert percent(without) == round(100 * variants["causal lag 1, 10 bps (no MRO)"]["total_portfolio_return"], 2)

    words = ["report", "--sentiment", real_data / "sentiment_data.csv", "--prices", real_data / "prices.csv.gz"]
    done = run(shlex.join(["workbench", *map(str, words)]), tmp_path)
    assert done.returncode == 0, done.stderr
    (said,) = re.findall(r"^> Verdict: (.*?)\. (.*)$", section, re.M)
    notebook = json.loads(Path(done.stdout.strip()).with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert not missing_lines(f"Verdict: {said[0]}\n{said[1]}", shown_by([notebook]))


def test_everybody_finds_their_lines_in_the_readme() -> None:
    section = README.partition("\n## Install it your way\n")[2].partition("\n## ")[0]
    parts = [part for part in re.split(r"^(?=\*\*)", section, flags=re.M) if part.startswith("**")]
    programs = {"venv/bin/pip": "install.md", "conda": "install.md", "docker": "docker.md", "export": "cluster.md"}
    assert len(parts) == len(programs)
    for part, (program, name) in zip(parts, programs.items(), strict=True):
        (block,) = re.findall(r"^```shell\n(.*?)^```", part, re.M | re.S)
        assert f"([more](docs/{name}" in part and re.search(rf"^{program} ", block, re.M), program
        assert len(block.splitlines()) <= 5 and "workbench report" in block, program


def test_files_that_the_readme_names_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(links) > 10
    for target in links:
        assert (ROOT / target).exists(), target


def test_files_that_the_layout_names_exist() -> None:
    rows = re.findall(r"^\| (`.+?`) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(names) > 10
    for name in names:
        assert (ROOT / name).exists(), name


def test_commands_are_split_like_a_shell_would() -> None:
    for command in COMMANDS:
        assert shlex.split(command)


# ---- the pages ----

PAGES = {path.name: Page(path) for path in sorted((ROOT / "docs").glob("*.md"))}
ALL_PAGES = PAGES | {name: Page(ROOT / name) for name in ("README.md", "CONTRIBUTING.md")}
API = "http://127.0.0.1:8000"
SHELLS = ("sh", "console", "shell")  # `shell` is the README's `console`: for who has Docker, conda, a cluster
NOTEBOOKS = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


def test_there_is_a_page_for_each_subject() -> None:
    subjects = "api cluster method prices reading-the-report security signals troubleshooting"
    assert {f"{subject}.md" for subject in subjects.split()} <= set(PAGES)
    for name in PAGES:
        assert f"(docs/{name})" in README, f"the README leads nobody to {name}"


class Follower:
    """Follows one page, block by block.

    Parameters
    ----------
    page, folder, api
        The page; where its reader is; the address that stands in for the one that pages name.
    """

    def __init__(self, page: Page, folder: Path, api: str) -> None:
        self._page, self._folder, self._api = page, folder, api
        self._reader = Reader(folder, WORKBENCH_HOME=str(folder / "home"))
        self._printed: str | None = None  # None: nothing was run so far
        self._job = ""

    def follow(self) -> None:
        """Run the page."""
        try:
            for block in self._page.blocks:
                getattr(self, f"_{block.language}")(block)
        finally:
            self._reader.end()

    def _check(self, true: bool, block: Block, what: object) -> None:
        assert true, f"{self._page.path.name}, line {block.line}: {what}"

    def _sh(self, block: Block) -> None:
        for command in commands(block):
            code, printed = self._reader.command(command.text.replace(API, self._api))
            self._check(code == command.code, block, f"{command.text}: exit {code}\n{printed}")
            self._check("Traceback" not in printed and bool(printed.strip()), block, f"{command.text}\n{printed}")
            self._printed = printed.replace(self._api, API)

    def _python(self, block: Block) -> None:
        if name := file_of(block):
            (self._folder / name).write_text(block.text, encoding="utf-8")
        code, printed = self._reader.python(block.text.replace(API, self._api))
        self._check(code == 0, block, printed)
        self._printed = printed.replace(self._api, API)

    def _text(self, block: Block) -> None:
        assert self._printed is not None, f"{self._page.path.name}, line {block.line}: nothing printed this"
        missing = missing_lines(block.text, self._printed)
        if missing and not missing_lines(block.text, shown_by_notebooks()):
            return
        self._check(not missing, block, f"not printed: {missing}\n{self._printed}")

    def _http(self, block: Block) -> None:
        request, _, answer = block.text.partition("\n\n")
        got = self._answer(request)
        status, *lines = answer.splitlines()
        self._check(str(got.status_code) == status, block, f"{got.status_code} {got.text[:500]}")
        while re.match(r"[A-Z][\w-]*: ", lines[0]):
            name, _, value = lines.pop(0).partition(": ")
            self._check(got.headers.get(name) == value, block, f"{name}: {got.headers.get(name)}")
        content = got.json()
        if isinstance(content, dict):
            self._job = content.get("id") or self._job
        shown = json.loads("\n".join(lines).replace("{id}", self._job))
        wrong = differences(shown, content)
        self._check(not wrong, block, wrong)

    def _answer(self, request: str) -> httpx.Response:
        first, *lines = request.replace("{id}", self._job).splitlines()
        method, path = first.split(" ")
        headers = {"Content-Type": "application/json"} if method == "POST" else {}
        while lines and re.match(r"[A-Z][\w-]*: ", lines[0]):
            name, _, value = lines.pop(0).partition(": ")
            headers[name] = value
        body = "\n".join(lines).encode()
        if body.startswith(b"@"):
            body = (self._folder / body[1:].decode()).read_bytes()
        while True:
            got = httpx.request(method, self._api + path, headers=headers, content=body, timeout=180)
            waits = re.fullmatch(r"/jobs/\w+", path) and got.json().get("status") in ("queued", "running")
            if not waits:
                return got

    def _yaml(self, block: Block) -> None:
        self._check(bool(yaml.safe_load(block.text)), block, "holds nothing")

    def _console(self, block: Block) -> None:
        """Leave it: `check_line` holds it against the programs that it calls."""


@cache
def shown_by_notebooks() -> str:
    """Return the text of all outputs of the committed notebooks."""
    return shown_by(NOTEBOOKS)


def shown_by(notebooks: list[dict[str, Any]]) -> str:
    """Return the text of all outputs of notebooks."""
    parts = []
    for notebook in notebooks:
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                text = output.get("text") or output.get("data", {}).get("text/plain", "")
                parts.append("".join(text))
    return "\n".join(parts)


@pytest.mark.parametrize("name", [name for name in PAGES if name != "api.md"])
def test_a_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    write_tables(tmp_path)
    Follower(PAGES[name], tmp_path, f"http://127.0.0.1:{free_port()}").follow()


def test_the_page_of_the_api_does_what_it_says(tmp_path: Path) -> None:
    write_tables(tmp_path)
    with serving(tmp_path) as server:
        Follower(PAGES["api.md"], tmp_path, server.url).follow()


def test_a_page_that_is_wrong_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text in (
        "```sh\nworkbench backtest --top-n 0\n```",
        "```sh\nworkbench backtest --top-n 0   # exit 2\n```\n```text\nworkbench: top_n must be at least 2\n```",
        "```python\nprint(1)\n```\n```text\n2\n```",
        "```python\n1 / 0\n```",
    ):
        page.write_text(text, encoding="utf-8")
        with pytest.raises(AssertionError, match=r"page\.md, line \d"):
            Follower(Page(page), tmp_path, API).follow()
    assert differences({"a": [1, ANYTHING]}, {"a": [1, 2, 3], "b": 4}) == []
    assert len(differences({"a": [1], "c": 2}, {"a": [1, 2]})) == 2


# ---- what pages name ----


def words_of(page: Page, languages: tuple[str, ...] = SHELLS) -> str:
    """Return what a page says in code: inline, and in blocks of these languages."""
    return "\n".join([*page.inline, *(block.text for block in page.blocks if block.language in languages)])


@cache
def source() -> str:
    """Return the text of the package, the tests, the Makefile and the set-up."""
    paths = [*(ROOT / "workbench").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / "Makefile"]
    paths += [
        path for name in ("Dockerfile", "docker-compose.yml", ".ci/container/enter") if (path := ROOT / name).is_file()
    ]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


@pytest.mark.parametrize("name", ALL_PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ALL_PAGES[name]
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.prose):
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), target
        assert not anchor or anchor in Page(path).anchors(), f"{target}#{anchor}"


@pytest.mark.parametrize("name", ALL_PAGES)
def test_files_and_tests_that_a_page_names_are_there(name: str) -> None:
    for text in ALL_PAGES[name].inline:
        found = re.fullmatch(r"((?:workbench|tests|notebooks|docs|benchmarks|\.ci)/[\w./-]*)(?:::(\w+))?", text)
        if found is None:
            continue
        path = ROOT / found[1]
        assert path.exists(), text
        if found[2]:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert found[2] in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, text


def test_the_security_page_names_a_test_for_every_protection() -> None:
    tables = PAGES["security.md"].text.split("| against | what is done | shown by |\n|---|---|---|\n")[1:]
    claims = [row for table in tables for row in table.partition("\n\n")[0].splitlines()]
    assert len(claims) > 30
    for row in claims:
        assert row.count("|") == 4 and "::test_" in row, row


@pytest.mark.parametrize("name", ALL_PAGES)
def test_variables_that_a_page_names_are_read(name: str) -> None:
    known = {f"WORKBENCH_API_{field.name.upper()}" for field in fields(Settings)}
    for variable in re.findall(r"\b(?:WORKBENCH|RAY|JUPYTER|NUMBA)_[A-Z_]*[A-Z]\b", ALL_PAGES[name].text):
        assert variable in known or variable in source() or f"{variable}_" in source(), variable


def test_every_variable_that_is_read_is_named_by_a_page() -> None:
    own = {
        "ACCOUNT",
        "LAB_RAY",
        "SERVE_LOG",
        "SERVE_LIMITS",
        "NBVAL_RESULTS",
        "API",
        "LAB",
    }  # between processes of its own
    package = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "workbench").rglob("*.py"))
    read = set(re.findall(r"[\"']WORKBENCH_([A-Z_]*[A-Z])[\"']", package)) - own
    assert len(read) > 10
    text = "\n".join(page.text for page in ALL_PAGES.values())
    settings = {f"API_{field.name.upper()}" for field in fields(Settings)}
    assert [name for name in sorted(read - settings) if f"WORKBENCH_{name}" not in text] == []


@pytest.mark.parametrize("name", ALL_PAGES)
def test_commands_and_options_that_a_page_names_exist(name: str) -> None:
    page, known = ALL_PAGES[name], options_of_workbench()
    for block in page.blocks:
        if block.language in SHELLS:
            for command in commands(block):
                if command.code == 0:  # the others show what a mistake is answered with
                    check_line(command.text)
    every = {option for options in known.values() for option in options} | {"--version"}
    others = options_of_others() | {"--num-cpus", "--object-store-memory", "--working-dir"}  # of Ray
    for text in page.inline:
        words = text.split()
        if words and words[0] == "workbench" and len(words) > 1 and words[1][0] != "-":
            assert words[1] in {one.split()[0] for one in known}, text
        elif words[:2] in (["docker", "compose"], ["docker", "run"], ["conda", "env"], ["pip", "install"]):
            if words[2:]:
                check_line(text)
            continue
        elif words and words[0] in ("ray", "docker", "papermill", "make", "pip"):
            continue
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text):
            assert option in every | others, f"{option} in {text}"


@pytest.mark.parametrize(
    "line",
    [
        "docker compose up --biuld",
        "docker compose up worker",
        "docker compose up --scale lab=2",
        "docker compose run --rm lab workbench reprot",
        "docker compose exec api workbench backtest --topn 3",
        "docker compose cp lab:/etc/passwd .",
        "docker compose frobnicate",
        "docker build -t workbench:9.9.9 .",
        "docker run --rm workbench:latest workbench report",
        f"docker run --rm -p 0.0.0.0:8888:8888 {IMAGE}",
        f"docker run --rm -p 127.0.0.1:22:22 {IMAGE}",
        f"docker run --rm -v mine:/srv/elsewhere {IMAGE}",
        f"docker run --rm -v workbench_dota:/srv/data {IMAGE}",
        f"docker run --rm -e WORKBENCH_API_KEY_FILE=/run/secrets/api_key {IMAGE} workbench serve",
        "conda env create -f environment.yaml",
        "conda activate workbanch",
        "pip install workbench",
        'pip install "workbench[transformers]"',
        "pip install -r requirements.txt",
        "pip install --no-dependencies-at-all .",
        "workbench sweep -o x.parquet",
        "workbench sweep --grid",
        "workbench backtest reports",
        "ray job submit -- workbench nothing",
        "serve deploy serve.yaml --adress http://127.0.0.1:8265",
        "sh .ci/container/secret",
        "python .ci/nothing.py",
        "make raport",
        "rm -r reports",
    ],
)
def test_a_line_that_is_wrong_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        check_line(line)


@pytest.mark.parametrize("name", ALL_PAGES)
def test_names_in_code_exist(name: str) -> None:
    """What looks like a name of the workbench's own, with an underscore in it, occurs in its source."""
    known = set(re.findall(r"\w+", source()))
    known |= {f"{compose_file()['name']}_{volume}" for volume in compose_file()["volumes"]}
    for text in ALL_PAGES[name].inline:
        for word in re.findall(r"(?<![\w/.-])[a-z]\w*_\w+(?![\w/-]|\.\w)", text):
            assert word in known, word


# ---- tables that must be whole ----


def cells(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, without its head."""
    section = PAGES[page].text.partition(f"\n{heading}\n")[2]
    rows = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert rows is not None, heading
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[0].splitlines()[2:]]


def test_the_method_has_every_parameter_with_its_default() -> None:
    shown = {name.strip("`"): default.strip("`") for name, default, _ in cells("method.md", "## The parameters")}
    assert shown == {name: str(getattr(StudyConfig(), name)) for name in StudyConfig.model_fields}


def test_the_method_has_every_number_signal_and_weighting(market: Any) -> None:
    named = set(re.findall(r"`(\w+)`", "\n".join(row[0] for row in cells("method.md", "## The numbers"))))
    summary = run_study(StudyConfig(), market).summary
    assert named == {re.sub("^(benchmark|gross)_", "", name) for name in summary}
    assert [row[0].strip("`") for row in cells("method.md", "## Weights")] == list(get_args(Weighting))
    built_in = {name for name in signal_names() if find_signal(name).columns}
    assert built_in <= set(PAGES["signals.md"].inline)
    assert all(f"   | `{name}` |" in PAGES["method.md"].text for name in built_in)


@pytest.fixture(scope="module")
def market() -> Any:
    return workbench.load_market("sentiment_data.csv", "simulated")


def test_the_report_page_has_every_loss_and_every_section() -> None:
    page = PAGES["reading-the-report.md"]
    rows = cells("reading-the-report.md", "### What was left out")
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row[0])) == sorted(KINDS)
    notebook = json.loads((ROOT / "notebooks" / "portfolio_report.ipynb").read_text(encoding="utf-8"))
    prose = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    headings = re.findall(r"^## (.+)$", prose, re.MULTILINE)
    assert [line for line in headings if f"### {line}\n" not in page.text] == []


def test_the_api_page_has_every_endpoint() -> None:
    app = create_app(Settings(home=Path(os.environ["WORKBENCH_HOME"])))
    operations = {
        f"{method.upper()} {path.replace('job_id', 'id')}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    app.state.server.close()
    assert {row[0].strip("`") for row in cells("api.md", "## Endpoints")} == operations
    for name, page in PAGES.items():
        for text in re.findall(r"\b(?:GET|POST|DELETE) /[\w/{}]*", words_of(page, ("http",))):
            assert text in operations, f"{name}: {text}"


def test_the_api_page_has_every_setting_with_its_default(tmp_path: Path) -> None:
    shown = {row[0].split("`")[1]: row[1].strip("`") for row in cells("api.md", "## Settings")}
    settings = Settings(home=tmp_path)
    set_by_variables = [field for field in fields(Settings) if field.type in ("int", "float", "str")]
    assert shown == {f.name: str(getattr(settings, f.name)) for f in set_by_variables if f.name != "engine"}


def test_the_api_page_has_every_field_of_a_body() -> None:
    named = {name for row in cells("api.md", "## One study") for name in re.findall(r"`(\w+)`", row[0])}
    assert named == set(AnalyzeRequest.model_fields)


def test_the_api_page_has_every_status_of_a_refusal() -> None:
    shown = [int(status) for row in cells("api.md", "## Errors") for status in row[0].split(",")]
    assert sorted(shown) == sorted(STATUSES)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(citation)
    assert (citation["version"], citation["license"]) == (workbench.__version__, "BSD-3-Clause")
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])


def test_the_citation_is_one_by_the_schema_of_such_files() -> None:
    checker = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    if checker is None:
        pytest.skip("no check-jsonschema for this machine")
    command = [checker, "--builtin-schema", "vendor.citation-file-format", str(ROOT / "CITATION.cff")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_changelog_is_one_by_the_rules_of_such_files() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    versions = re.findall(r"^## (.+)$", text, re.M)
    assert versions[0] == "[Unreleased]"
    for version in versions[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version), version
    kinds = re.findall(r"^### (.+)$", text, re.M)
    assert kinds and set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    commands_named = set(re.findall(r"\w+", " ".join(re.findall(r"`workbench ([^`]*)`", text))))
    assert {name.split()[0] for name in options_of_workbench()} <= commands_named


def test_the_layouts_name_every_top_level_folder() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shipped = project["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
    folders = {name for name in shipped if (ROOT / name).is_dir()}
    assert len(folders) > 5
    assert folders <= set(re.findall(r"`([\w.]+)/", ALL_PAGES["CONTRIBUTING.md"].prose))


def test_what_is_backed_up_comes_back(tmp_path: Path) -> None:
    """The tar commands of the page, each in the place of its container."""
    lines = [
        line.text for block in PAGES["docker.md"].blocks for line in commands(block) if "tar workbench:" in line.text
    ]
    (tmp_path / "full" / "srv" / "data" / "user").mkdir(parents=True)
    (tmp_path / "full" / "srv" / "reports").mkdir()
    for name in ("data/user/ä b", "data/jobs.json", "reports/page.html"):
        (tmp_path / "full" / "srv" / name).write_text(name, encoding="utf-8")
    for volume in ("data", "reports"):
        (tmp_path / "empty" / "srv" / volume).mkdir(parents=True)
    assert len(lines) == 4
    for line in lines:
        inside = "tar " + line.partition(f"tar {IMAGE} ")[2]
        place = tmp_path / ("full" if " -cz " in inside else "empty") / "srv"
        moved = inside.replace("-C /srv", shlex.join(["-C", str(place)]))
        subprocess.run(["sh", "-c", moved], cwd=tmp_path, check=True, timeout=60)
    tables = [
        {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        for place in (tmp_path / "full", tmp_path / "empty")
    ]
    assert len(tables[0]) == 3 and tables[0] == tables[1]


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in ALL_PAGES.values():
        lines = words_of(page).splitlines()
        for line in (line for line in lines if line.startswith("make ")):
            words = [word for word in shlex.split(line, comments=True)[1:] if "=" not in word]
            assert set(words) <= targets, line
