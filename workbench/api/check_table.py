"""A table that a stranger sent, read in a process of its own with bounded memory: what breaks there breaks nothing else.

Enters: a JSON object on stdin with the file, its name, its kind and the limits. Leaves: one JSON object on stdout: `about`, what the table
holds, or `error`, the reader's line. `python -m workbench.api.check_table` is this process; `check_upload` starts it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from workbench.api.settings import KEY, KEY_FILE, Settings
from workbench.errors import ConfigError, DataError, WorkbenchError
from workbench.market.files import show

KINDS = ("sentiment", "prices")
MEMORY_BYTES = 4 << 30  # of address space: the interpreter and its packages take about one of the four
PRICE_CELLS = 20_000_000  # days x symbols, each eight bytes in the server's memory

_CHUNK = 1 << 20


def check_upload(path: Path, name: str, kind: str, columns: str | None, settings: Settings) -> dict[str, Any]:
    """Read a table in a process of its own and return what it holds.

    Raises
    ------
    DataError
        It breaks a rule, or takes more memory or time than it may.
    """
    question = {
        "path": str(path),
        "name": name,
        "kind": kind,
        "columns": columns,
        "rows": settings.table_rows,
        "symbols": settings.table_symbols,
        "unpacked": settings.unpacked_bytes,
    }
    environment = {key: value for key, value in os.environ.items() if key not in (KEY, KEY_FILE)}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "workbench.api.check_table"],
            input=json.dumps(question).encode(),
            capture_output=True,
            timeout=settings.check_seconds,
            env=environment,
        )
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        raise DataError(
            f"{show(name)}: cannot be read with the memory and time that there is; send a smaller table"
        ) from None
    if "error" in answer:
        raise DataError(answer["error"])
    return dict(answer["about"])


def main() -> None:
    """Answer one question."""
    question = json.loads(sys.stdin.buffer.read())
    try:
        answer: dict[str, Any] = {"about": _about(question)}
    except (WorkbenchError, MemoryError) as error:
        # The file has a passing name of its own, which the sender does not know.
        text = str(error) or f"{question['name']}: needs more memory than there is; send a smaller table"
        for path in (question["path"], show(question["path"], 200)):
            text = text.replace(path, question["name"])
        answer = {"error": text}
    sys.stdout.write(json.dumps(answer))


def _about(question: dict[str, Any]) -> dict[str, Any]:
    path, name = Path(question["path"]), question["name"]
    _check_size(path, name, question)
    from workbench.market.load import is_simulated
    from workbench.market.prices import FileSource
    from workbench.market.sentiment import parse_columns, read_sentiment

    _limit_memory()
    if question["kind"] == "sentiment":
        sentiment = read_sentiment(path, parse_columns(question["columns"]) if question["columns"] else None)
        days, symbols, rows = sentiment.days, sentiment.symbols, len(sentiment.days)
    else:
        if question["columns"]:
            raise ConfigError("columns must be left out for a table of prices")
        prices = FileSource(path).load()
        days, symbols, rows = prices.days, prices.symbols, len(prices.days)
        if prices.values.size > PRICE_CELLS:
            raise DataError(
                f"{name}: must have at most {PRICE_CELLS:,} days x symbols, got {prices.values.size:,}; cut it"
            )
    if rows > question["rows"] or len(symbols) > question["symbols"]:
        raise DataError(
            f"{name}: must have at most {question['rows']:,} rows and {question['symbols']:,} symbols, "
            f"got {rows:,} and {len(symbols):,}; cut it"
        )
    return {
        "kind": question["kind"],
        "rows": rows,
        "symbols": len(symbols),
        "first": str(days.min()),
        "last": str(days.max()),
        "data_kind": "simulated" if is_simulated(symbols) else "real",
    }


def _check_size(path: Path, name: str, question: dict[str, Any]) -> None:
    """Refuse what unpacks to more than it may, before it is unpacked."""
    with open(path, "rb") as file:
        magic = file.read(4)
    most = question["unpacked"]
    if magic[:2] == b"\x1f\x8b" and _unpacked_beyond(path, most):
        raise DataError(f"{name}: must unpack to at most {most:,} bytes; send a smaller table")
    if magic != b"PAR1":
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about = pq.read_metadata(path)
        size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
    except (pa.ArrowException, OSError):
        return  # the reader says what is wrong with it
    if about.num_rows > question["rows"] or size > most:
        raise DataError(f"{name}: must have at most {question['rows']:,} rows and {most:,} bytes unpacked; cut it")


def _unpacked_beyond(path: Path, most: int) -> bool:
    """Tell whether a gzip file unpacks to more than so many bytes; a damaged one does not."""
    stream, size = zlib.decompressobj(wbits=31), 0
    with open(path, "rb") as file:
        while data := file.read(_CHUNK):
            try:
                while data:
                    size += len(stream.decompress(data, _CHUNK))
                    if size > most:
                        return True
                    data = stream.unconsumed_tail
                    if stream.eof and stream.unused_data:
                        data, stream = stream.unused_data, zlib.decompressobj(wbits=31)
            except zlib.error:
                return False
    return False


def _limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
