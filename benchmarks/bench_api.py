"""What does the API cost beside the least that could answer? Requests a second and latency, by a second process on loopback.

    python benchmarks/bench_api.py [ROUNDS] [SECONDS]                      cached and uncached, on Ray Serve (5 rounds of 5 s)
    python benchmarks/bench_api.py --mixed [SECONDS] [ENGINE]              30 s of mixed load at saturation (ray or local)

Cached: `POST /portfolio/analyze` of a study that the cache has, beside a bare FastAPI deployment on the same Ray Serve that reads the same
body and returns the same bytes; both with one replica, in turn in one run. Targets: 1.5 times as few requests a second, twice the p99.
Uncached: the same endpoint with another seed each time by one client, beside `run_study` in process; target: 1.5 times its median, plus
what a cached answer costs. Mixed: cached and computed studies, stocks, jobs' statuses, wrong bodies and uploads by 32 clients; no 5xx but
503, and the memory of the replicas before and after. The real data where they are, else the simulated ones. The log is on, and on stderr:
2>/dev/null.
"""

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from workbench import StudyConfig, load_market, run_study
from workbench.api.replica import Replica
from workbench.api.settings import Settings

CLIENTS = 8
REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
DATASET = "real" if (REAL / "prices.csv.gz").is_file() else "default"
STUDY = {"dataset": DATASET}


def register(home: Path) -> None:
    """Register the real data under the name that `STUDY` uses."""
    records = home / "api" / "datasets"
    records.mkdir(parents=True)
    if DATASET == "real":
        files = {"sentiment": str(REAL / "sentiment_data.csv"), "prices": str(REAL / "prices.csv.gz")}
        (records / "real.json").write_text(json.dumps(files))


# ---- what is served ----


class Bare:
    """The least that answers: a FastAPI route that reads the body and returns bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def __call__(self, _: Any) -> Any:
        """Return the application."""
        from fastapi import FastAPI, Request, Response

        app, answer = FastAPI(), self._answer

        async def analyze(request: Request) -> Response:
            json.loads(await request.body())
            return Response(answer, media_type="application/json")

        analyze.__annotations__ = {"request": Request, "return": Response}
        app.post("/portfolio/analyze")(analyze)
        return app


@contextmanager
def on_serve(make: Any, port: int) -> Iterator[str]:
    """Serve an application on Ray Serve, by one replica."""
    from workbench.cluster.serving import Serving, serving

    how = Serving("127.0.0.1", port, 1, 100, 1024, 2, 120.0, 5.0)
    with serving(make, how):
        yield f"http://127.0.0.1:{port}"


# ---- load ----


def hammer(url: str, seconds: float, bodies: list[dict[str, Any]], sender: Any) -> None:
    """Send requests by some clients at a time, in this process, and report the seconds of each."""
    until, taken, lock = time.perf_counter() + seconds, [], threading.Lock()

    def client(number: int) -> None:
        own = []
        with httpx.Client(base_url=url, timeout=60) as session:
            turn = number
            while time.perf_counter() < until:
                started = time.perf_counter()
                answer = session.post("/portfolio/analyze", json=bodies[turn % len(bodies)])
                own.append(time.perf_counter() - started)
                assert answer.status_code == 200, answer.text
                turn += 1
        with lock:
            taken.extend(own)

    clients = CLIENTS if len(bodies) == 1 else 1
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sender.send(taken)


def measured(url: str, seconds: float, bodies: list[dict[str, Any]]) -> list[float]:
    """Return the seconds of each request, made by a second process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=hammer, args=(url, seconds, bodies, sender))
    process.start()
    taken: list[float] = receiver.recv()
    process.join()
    return taken


def p99(taken: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(taken)[int(0.99 * len(taken))]


def milliseconds(work: Callable[[int], object], repeats: int) -> float:
    """Return the median time of a call."""
    taken = []
    for turn in range(repeats):
        started = time.perf_counter()
        work(turn)
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken)


def cached(rounds: int, seconds: float) -> None:
    """Hold the cached endpoint against the bare one, and the uncached one against `run_study`."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        register(home)
        os.environ["WORKBENCH_HOME"] = name
        settings = Settings(home=home, engine="Ray Serve", rate_per_second=0, replicas=1)
        ratios, tails, rates = [], [], []
        from workbench.cluster import session

        with session.running():
            with on_serve(Replica(settings), 8010) as url:
                answer = httpx.post(f"{url}/portfolio/analyze", json=STUDY, timeout=60).content
            for turn in range(rounds):
                arms: dict[str, list[float]] = {}
                for arm in ("bare", "ours") if turn % 2 else ("ours", "bare"):
                    with on_serve(Replica(settings) if arm == "ours" else Bare(answer), 8010 + turn) as url:
                        measured(url, 1.0, [STUDY])
                        arms[arm] = measured(url, seconds, [STUDY])
                rates.append(tuple(len(arms[arm]) / seconds for arm in ("ours", "bare")))
                ratios.append(rates[-1][1] / rates[-1][0])
                tails.append(p99(arms["ours"]) / p99(arms["bare"]))
                print(
                    f"  round {turn + 1}: ours {rates[-1][0]:.0f}/s p99 {1000 * p99(arms['ours']):.0f} ms, "
                    f"bare {rates[-1][1]:.0f}/s p99 {1000 * p99(arms['bare']):.0f} ms"
                )
            print(
                f"cached: {statistics.median(ratios):.2f} x fewer requests a second, p99 {statistics.median(tails):.2f} x"
            )
            market = market_of()
            with on_serve(Replica(settings), 8030) as url, httpx.Client(base_url=url, timeout=60) as client:
                post = lambda seed: client.post("/portfolio/analyze", json=STUDY | {"seed": seed}).raise_for_status()  # noqa: E731
                run = lambda seed: run_study(StudyConfig(seed=seed), market)  # noqa: E731
                post(1), run(1)
                pairs = []
                for turn in range(rounds):
                    here = milliseconds(lambda i, turn=turn: run(1000 * turn + i + 2), 60)
                    hit = milliseconds(lambda _: post(1), 60)
                    there = milliseconds(lambda i, turn=turn: post(1000 * turn + i + 2), 60)
                    pairs.append((here, hit, there))
            here, hit, there = (statistics.median(column) for column in zip(*pairs, strict=True))
            over = statistics.median(there / (1.5 * here + hit) for here, hit, there in pairs)
            print(
                f"uncached: {there:.1f} ms; run_study {here:.1f} ms, a cached answer {hit:.1f} ms: {over:.2f} of 1.5 x run_study plus that"
            )


def market_of() -> Any:
    """Return the market that `STUDY` is about."""
    if DATASET == "real":
        return load_market(str(REAL / "sentiment_data.csv"), str(REAL / "prices.csv.gz"))
    return load_market()


# ---- mixed load ----


def mixed(seconds: float, engine: str) -> None:
    """Load a server beyond what it can do, with all kinds of requests."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        home = Path(name)
        register(home)
        port = 8040
        environment = os.environ | {"WORKBENCH_HOME": name, "WORKBENCH_API_RATE_PER_SECOND": "0"}
        log = stack.enter_context(open(home / "log", "wb"))
        server = psutil.Popen(
            [sys.executable, "-m", "workbench", "serve", "--engine", engine, "--port", str(port)],
            env=environment,
            stderr=log,
        )
        stack.callback(server.wait)
        stack.callback(server.terminate)
        url = f"http://127.0.0.1:{port}"
        wait_until_up(url)
        job = httpx.post(f"{url}/sweeps", json=STUDY | {"grid": "top_n=1..5"}, timeout=60).json()["id"]
        symbols = ["AAPL", "MSFT"] if DATASET == "real" else ["SIM001", "SIM002"]

        def request(number: int, turn: int, client: httpx.Client) -> httpx.Response:
            match (number + turn) % 10:
                case 0 | 1 | 2:
                    return client.post("/portfolio/analyze", json=STUDY | {"seed": number * 100_000 + turn})
                case 3:
                    return client.post("/stocks/analyze", json={"dataset": DATASET, "symbols": symbols})
                case 4:
                    return client.get(f"/jobs/{job}")
                case 5:
                    return client.post("/portfolio/analyze", json={"top_n": -1})
                case 6:
                    return client.get("/status")
                case 7:
                    return client.post(
                        "/datasets?name=mixed", content=b"not a table", headers={"Content-Type": "text/csv"}
                    )
            return client.post("/portfolio/analyze", json=STUDY)

        found: Counter[int] = Counter()
        lock = threading.Lock()

        def load(until: float, number: int) -> None:
            own: Counter[int] = Counter()
            with httpx.Client(base_url=url, timeout=120) as client:
                turn = 0
                while time.monotonic() < until:
                    turn += 1
                    own[request(number, turn, client).status_code] += 1
            with lock:
                found.update(own)

        def run(length: float) -> None:
            until = time.monotonic() + length
            threads = [threading.Thread(target=load, args=(until, number)) for number in range(32)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        run(seconds / 3)  # caches and pools fill up
        before = memory(server)
        found.clear()
        run(seconds)
        after = memory(server)
    wrong = {status: count for status, count in found.items() if status >= 500 and status != 503}
    print(f"mixed load on {engine}, {seconds:g} s, 32 clients: {sum(found.values()) / seconds:.0f} requests a second")
    print(f"  by status: {dict(sorted(found.items()))}; 5xx other than back-pressure: {wrong or 'none'}")
    print(f"  memory of the servers: {before:.0f} MiB before, {after:.0f} MiB after")


def memory(server: psutil.Process) -> float:
    """Return the private MiB of the processes that answer."""
    everything = [server, *server.children(recursive=True)]
    answering = [
        process for process in everything if any("ServeReplica:workbench" in part for part in process.cmdline())
    ]
    return sum(process.memory_full_info().uss for process in answering or [server]) / 2**20


def wait_until_up(url: str) -> None:
    """Wait for the first answer."""
    for _ in range(240):
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit("the server did not start")


def main() -> None:
    """Run what is asked for."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--mixed"]:
        mixed(float(arguments[1]) if arguments[1:] else 30.0, arguments[2] if arguments[2:] else "ray")
    else:
        cached(int(arguments[0]) if arguments else 5, float(arguments[1]) if arguments[1:] else 5.0)


if __name__ == "__main__":
    main()
