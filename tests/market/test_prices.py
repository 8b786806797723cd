"""Prices: long and wide tables in every form, the keyword for the simulated ones, and what is refused."""

from __future__ import annotations

import datetime as dt
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import DataError
from workbench.market import prices
from workbench.market.files import PACKAGE_DATA
from workbench.market.prices import FileSource, SimulatedSource, price_source
from workbench.market.tables import PriceTable

LONG = (
    "date,symbol,open,high,low,close,adj_close,volume\n"
    "2023-01-03,QQQ,1,1,1,1,270.5,100\n"
    "2023-01-02,QQQ,1,1,1,1,265,100\n"
    "2023-01-02,NA,x,,-1,0,10,\n"
    "2023-01-04,NA,1,1,1,1,,100\n"
)
WIDE = "date,QQQ,NA\n2023-01-03,270.5,\n2023-01-02,265,10\n2023-01-04,,\n"


def load(content: str | bytes, folder: Path, name: str = "p.csv") -> PriceTable:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return FileSource(path).load()


def refusal(content: str | bytes, folder: Path, name: str = "p.csv") -> str:
    with pytest.raises(DataError) as error:
        load(content, folder, name)
    text = str(error.value)
    assert len(text.splitlines()) == 1 and text.isprintable()
    return text.replace(str(folder / name), "p.csv")


def same(one: PriceTable, two: PriceTable) -> None:
    assert one.days.tolist() == two.days.tolist() and one.symbols == two.symbols
    np.testing.assert_array_equal(one.values, two.values)


def expected() -> PriceTable:
    days = np.array(["2023-01-02", "2023-01-03", "2023-01-04"], dtype="datetime64[D]")
    values = np.array([[10, 265], [np.nan, 270.5], [np.nan, np.nan]])
    return PriceTable(days, ("NA", "QQQ"), values, FileSource(pd.DataFrame()).origin)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [LONG, WIDE, WIDE.replace("date", "Date"), WIDE.replace("date", "")])
def test_long_and_wide_tables_give_the_same_prices(tmp_path: Path, content: str) -> None:
    table = load(content, tmp_path)
    same(table, expected())
    assert table.days.dtype == np.dtype("datetime64[D]") and table.values.dtype == np.float64
    assert table.columns == {"NA": 0, "QQQ": 1}
    same(load(gzip.compress(content.encode()), tmp_path, "p.csv.gz"), expected())
    same(load("\ufeff" + content.replace("\n", "\r\n"), tmp_path), expected())


def test_frames_and_parquet_with_dates_as_column_or_index_give_the_same_prices(tmp_path: Path) -> None:
    wide = pd.read_csv(io.StringIO(WIDE), parse_dates=["date"])
    long = pd.read_csv(io.StringIO(LONG), parse_dates=["date"], keep_default_na=False, na_values=[""])
    frames = [
        wide,
        long,
        wide.set_index("date"),
        wide.set_index("date").rename_axis(None),
        long.set_index(["date", "symbol"]),
    ]
    frames.append(wide.set_index("date").rename_axis("Date"))
    for frame in frames:
        same(FileSource(frame).load(), expected())
        frame.drop(columns=["open"], errors="ignore").to_parquet(tmp_path / "p.parquet")
        same(FileSource(tmp_path / "p.parquet").load(), expected())


def test_only_date_symbol_and_adjusted_close_are_needed_and_looked_at(tmp_path: Path) -> None:
    same(
        load(
            "symbol,adj_close,date\n"
            + "".join(f"{line.split(',')[1]},{line.split(',')[6]},{line.split(',')[0]}\n" for line in LONG.split()[1:]),
            tmp_path,
        ),
        expected(),
    )


P = "p.csv: line 2, column "
REFUSED = {
    "zero": (
        "date,symbol,adj_close\n2023-01-02,A,0\n",
        f"{P}adj_close: must be a finite price > 0, got '0'; leave it empty",
    ),
    "negative": ("date,symbol,adj_close\n2023-01-02,A,-5\n", f"{P}adj_close: must be a finite price > 0, got '-5'"),
    "underflow": (
        "date,symbol,adj_close\n2023-01-02,A,1e-400\n",
        f"{P}adj_close: must be a finite price > 0, got '1e-400'",
    ),
    "infinite": ("date,A\n2023-01-02,inf\n", f"{P}A: must be a finite price > 0, got 'inf'"),
    "nan": ("date,A\n2023-01-02,nan\n", f"{P}A: must be a finite price > 0, got 'nan'"),
    "text": ("date,A,B\n2023-01-02,1,null\n", f"{P}B: must be a finite price > 0, got 'null'"),
    "zero in a wide table": ("date,A,B\n2023-01-02,1,0.0\n", f"{P}B: must be a finite price > 0, got '0.0'"),
    "duplicate row": (
        "date,symbol,adj_close\n2023-01-02,A,1\n2023-01-02,A,\n",
        "p.csv: lines 2 and 3: (date, symbol) must occur once",
    ),
    "duplicate day": (
        "date,A\n2023-01-02,1\n2023-01-02,1\n",
        "lines 2 and 3: date must occur once, got 2023-01-02 twice",
    ),
    "duplicate symbol": ("date,A,A\n2023-01-02,1,1\n", "column A: must occur once, got it as columns 2, 3"),
    "bad day": ("date,A\n2023-02-29,1\n", f"{P}date: must be a day of the calendar"),
    "no price at all": ("date,A\n2023-01-02,\n", "must have a price, got only empty cells"),
    "no rows": ("date,A\n", "has a header but no rows"),
    "no symbols": ("date\n2023-01-02\n", "must have a column of adjusted closes per symbol"),
    "no date": ("day,A\n2023-01-02,1\n", "must have a column date, got day, A"),
    "long without adj_close": (
        "date,symbol,close\n2023-01-02,A,1\n",
        "must have a column adj_close, got date, symbol, close; did you mean close?",
    ),
    "long in capitals": (
        "Date,Symbol,Adj Close\n2023-01-02,A,1\n",
        "must have a column symbol, got Date, Symbol, Adj Close; did you mean 'Symbol'?",
    ),
    "long with tickers": (
        "date,ticker,adj_close\n2023-01-02,A,1\n",
        "must have a column symbol, got date, ticker, adj_close; did you mean 'ticker'?",
    ),
    "symbol with blanks": ("date, A\n2023-01-02,1\n", "column ' A': must have no blanks before or after"),
    "symbol without a name": ("date,A,\n2023-01-02,1,1\n", "p.csv: line 1, column '': must be a symbol"),
    "semicolons": ("date;A\n2023-01-02;1\n", "must be separated by commas, got semicolons"),
    "empty": ("", "is empty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_table_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    content, words = REFUSED[case]
    assert words in refusal(content, tmp_path)


def test_typed_prices_follow_the_same_rules() -> None:
    wide = pd.DataFrame({"date": pd.to_datetime(["2023-01-02", "2023-01-03"]), "A": [1, 2], "B": [1.0, 0.0]})
    for frame, words in (
        (wide, "DataFrame: row 2, column B: must be a finite price > 0, got 0.0"),
        (wide.assign(B=["1", "2"]), "row 1, column B: must be a finite price > 0, got '1'"),
        (wide.assign(B=[1, np.inf]), "row 2, column B: must be a finite price > 0, got inf"),
        (wide.assign(date=wide["date"].iloc[0], B=1), "rows 1 and 2: date must occur once, got 2023-01-02 twice"),
        (wide.assign(B=np.nan, A=np.nan), "must have a price, got only empty cells"),
        (pd.concat({"Adj Close": wide}, axis=1), "one level of column names"),
    ):
        with pytest.raises(DataError) as error:
            FileSource(frame).load()
        assert words in str(error.value) and str(error.value).isprintable()


def test_tickers_that_look_like_the_long_tables_columns_make_a_wide_table(tmp_path: Path) -> None:
    assert load("date,OPEN,LOW,HIGH\n2023-01-02,1,2,3\n", tmp_path).symbols == ("HIGH", "LOW", "OPEN")


def test_symbols_are_ordered_by_code_point_in_both_layouts(tmp_path: Path) -> None:
    symbols = ["b", "B", "é", "0", "A", "\U0001f600", "\uffee"]
    wide = f"date,{','.join(symbols)}\n2023-01-02,{','.join('1234567')}\n"
    long = "date,symbol,adj_close\n" + "".join(f"2023-01-02,{s},{i + 1}\n" for i, s in enumerate(symbols))
    assert load(wide, tmp_path).symbols == tuple(sorted(symbols))
    same(load(wide, tmp_path), load(long, tmp_path))


def test_price_source_tells_keywords_files_frames_and_sources_apart(tmp_path: Path, monkeypatch: Any) -> None:
    assert price_source("simulated") == SimulatedSource()
    for origin in ("./simulated", "p.csv", Path("simulated"), "C:/p.csv"):
        source = price_source(origin)
        assert isinstance(source, FileSource) and source.origin == origin
    frame = pd.DataFrame()
    assert isinstance(price_source(frame), FileSource)
    own = SimulatedSource()
    assert price_source(own) is own
    monkeypatch.setitem(prices.KEYWORDS, "snapshot", lambda text: FileSource(f"stored/{text}"))
    assert price_source("snapshot:abc").origin == "stored/snapshot:abc"  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="did you mean simulated"):
        price_source("simulate").load()


def test_the_simulated_prices_ship_with_the_package() -> None:
    table = SimulatedSource().load()
    assert "SIMIDX" in table.columns and all(symbol.startswith("SIM") for symbol in table.symbols)
    assert table.source.name == "simulated" and table.source.path == str(PACKAGE_DATA / "simulated_prices.parquet")
    assert not np.isnan(table.values[:, table.columns["SIMIDX"]]).any()


PRICE = st.none() | st.floats(1e-300, 1e300)
SYMBOLS = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5).filter(
        lambda s: s.lower() not in ("date", "symbol", "ticker", "adj_close", "adjclose")
    ),
    min_size=1,
    max_size=4,
    unique=True,
)


@given(
    st.data(),
    SYMBOLS,
    st.lists(st.dates(dt.date(1800, 1, 1), dt.date(2200, 1, 1)), min_size=1, max_size=6, unique=True),
)
def test_any_prices_read_back_equal_long_and_wide_in_every_form(
    tmp_path_factory: Any, data: Any, symbols: list[str], days: list[dt.date]
) -> None:
    values = [[data.draw(PRICE) for _ in symbols] for _ in days]
    values[0][0] = 1.5
    wide = pd.DataFrame(values, columns=symbols, dtype=np.float64)
    wide.insert(0, "date", days)
    long = wide.melt(id_vars="date", var_name="symbol", value_name="adj_close").sample(frac=1, random_state=0)
    folder = tmp_path_factory.getbasetemp()
    order = np.argsort(np.array(days, dtype="datetime64[D]"))
    for number, frame in enumerate((wide, long)):
        frame.to_csv(folder / "p.csv", index=False)
        frame.to_csv(folder / "p.csv.gz", index=False)
        frame.to_parquet(folder / "p.parquet")
        for origin in (folder / "p.csv", folder / "p.csv.gz", folder / "p.parquet", frame):
            table = FileSource(origin).load()
            assert table.symbols == tuple(sorted(symbols)), number
            assert table.days.tolist() == sorted(days)
            np.testing.assert_array_equal(table.values, wide[sorted(symbols)].to_numpy()[order])


def test_the_real_prices_are_what_their_readme_says(real_data: Path) -> None:
    table = FileSource(real_data / "prices.csv.gz").load()
    assert table.source.sha256.startswith("53272d8c")
    assert len(table.symbols) == 87 and {"QQQ", "SPY"} < set(table.symbols)
    assert (str(table.days[0]), str(table.days[-1])) == ("2020-01-02", "2023-12-29")
    atvi = table.values[:, table.columns["ATVI"]]
    assert str(table.days[np.flatnonzero(~np.isnan(atvi))[-1]]) == "2023-02-10"
