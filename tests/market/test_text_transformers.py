"""The scorer transformers, on a network that the tests build: random weights, a vocabulary of their own, nothing downloaded."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from posts import InLine, random_rows, read_table, score, write_rows

from workbench.errors import ConfigError, DataError, UnavailableError
from workbench.execution import LocalEngine
from workbench.market.scorer import LONGEST, ScorerSpec
from workbench.market.scorers import check_scorer

ROOT = Path(__file__).resolve().parents[2]
WORDS = "good bad bullish bearish long short going on the a of and but love hate market ##ish ##s ! . , $".split()
LABELS = ("positive", "negative", "neutral")
INSTALLED = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
needs_packages = pytest.mark.skipif(
    not INSTALLED, reason="torch and transformers are not installed: make venv EXTRAS=transformers"
)

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that saves a tiny BERT with random weights, as `save_pretrained` writes FinBERT."""
    import torch
    import transformers

    def make(labels: tuple[str, ...] = LABELS, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("model")
        vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
        tokenizer = transformers.BertTokenizerFast(vocab=vocabulary, model_max_length=24)
        torch.manual_seed(7)
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = transformers.BertConfig(
            vocab_size=len(vocabulary), max_position_embeddings=40, initializer_range=0.6,
            id2label=dict(enumerate(labels)), **sizes, **options,
        )  # fmt: skip
        transformers.BertForSequenceClassification(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def model(make_model: Make) -> Path:
    return make_model()


# ---- scores ------------------------------------------------------------------------------------------------------------


@needs_packages
def test_a_score_is_the_chance_of_positive_less_that_of_negative(make_model: Make):
    import torch
    import transformers

    from workbench.market.scorer_transformers import TransformersScorer

    texts = [
        "good",
        "going long, bullish!",
        "bad " * 100,
        "🚀 unknown",
        "x" * (LONGEST + 1),
        "\0 \ud7ff",
        "but " * 21,
        "but " * 23,
    ]
    for labels in (
        LABELS,
        ("neutral", "Negative", "POSITIVE"),
        ("Bearish", "Bullish"),
        ("LABEL_X", "positive", "negative"),
    ):
        if "LABEL_X" in labels:
            continue
        folder = make_model(labels)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        network = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        place = {label.lower(): index for index, label in enumerate(labels)}
        found = TransformersScorer(str(folder)).score(texts)
        for text, (value, _) in zip(texts, found, strict=True):
            with torch.no_grad():
                logits = network(
                    **tokenizer(text[:LONGEST], truncation=True, max_length=24, return_tensors="pt")
                ).logits[0]
            powers = [math.exp(logit) for logit in logits.tolist()]
            up, down = (
                powers[place.get(name, place.get(other, 0))]
                for name, other in (("positive", "bullish"), ("negative", "bearish"))
            )
            assert value == pytest.approx((up - down) / sum(powers), abs=1e-6), text
        # 24 tokens, of which two are the marks at the ends.
        assert [cut for _, cut in found] == [False, False, True, False, True, False, False, True]
        assert len({round(value, 3) for value, _ in found}) > 3, "the network does not tell texts apart"


@needs_packages
def test_chunks_engine_and_order_change_no_bit(model: Path, tmp_path: Path):
    path = write_rows(tmp_path / "posts.csv", random_rows(300, 2))
    tables = {}
    for name, engine, chunk_bytes in (
        ("whole", InLine(), 10**9),
        ("cut", InLine(4), 1),
        ("process", LocalEngine(1), 6000),
    ):
        result = score(path, tmp_path / "table.csv", engine, chunk_bytes, scorer="transformers", model=model)
        tables[name] = (tmp_path / "table.csv").read_bytes()
        assert result.scorer == f"transformers {model.name}" and result.scored + result.empty == 300
    assert len(set(tables.values())) == 1
    sentiments = {row[-1] for row in read_table(tmp_path / "table.csv")}
    assert len(sentiments) > 20 and all(0 <= float(cell or 0) <= 1 for cell in sentiments)


@needs_packages
def test_nothing_is_downloaded(model: Path, monkeypatch: pytest.MonkeyPatch):
    from workbench.market.scorer_transformers import TransformersScorer

    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"asked the network: {arguments}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(TransformersScorer(str(model)).score(["good", "bad"])) == 2
    with pytest.raises(DataError, match="got ProsusAI/finbert, which is no folder"):
        check_scorer(ScorerSpec("transformers", "ProsusAI/finbert"))


# ---- models that are none ----------------------------------------------------------------------------------------------


def refused(tmp_path: Path, folder: Path) -> str:
    """Return the one line that refuses a model, the way a user meets it."""
    path = write_rows(tmp_path / "posts.csv", random_rows(20, 2))
    with pytest.raises(DataError) as caught:
        score(path, tmp_path / "table.csv", scorer="transformers", model=folder)
    text = str(caught.value)
    assert (
        text.isprintable() and len(text.splitlines()) == 1 and len(text) < 700 and not (tmp_path / "table.csv").exists()
    )
    return text


@needs_packages
@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (("LABEL_0", "LABEL_1", "LABEL_2"), {}),
        (("positive", "neutral"), {}),
        (("positive", "bullish", "negative"), {}),
        (("joy", "positive", "negative"), {}),
        (LABELS, {"problem_type": "multi_label_classification"}),
    ],
)
def test_labels_that_do_not_tell_positive_from_negative_are_refused(
    make_model: Make, tmp_path: Path, labels: Any, options: Any
):
    text = refused(tmp_path, make_model(labels, **options))
    assert "must choose one of the labels positive, negative" in text and str(labels[0]) in text


@needs_packages
def test_a_folder_that_is_no_model_is_refused(model: Path, tmp_path: Path):
    assert "which is no folder" in refused(tmp_path, tmp_path / "nothing")
    assert "must hold config.json, weights and a tokenizer" in refused(tmp_path, tmp_path)

    def broken(name: str, change: Callable[[Path], object]) -> str:
        folder = tmp_path / name
        shutil.copytree(model, folder)
        change(folder)
        return refused(tmp_path, folder)

    assert "must hold config.json, weights" in broken(
        "weightless", lambda folder: (folder / "model.safetensors").unlink()
    )
    assert "config.json cannot be read" in broken("no-json", lambda folder: (folder / "config.json").write_text("{"))
    assert "config.json cannot be read" in broken(
        "no-text", lambda folder: (folder / "config.json").write_bytes(b"\xff")
    )
    assert "must hold config.json" in broken("list", lambda folder: (folder / "config.json").write_text("[]"))
    assert "cannot be loaded" in broken(
        "damaged", lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100)
    )
    assert "cannot be loaded" in broken("typeless", lambda folder: change_config(folder, model_type="no such type"))
    assert "cannot be loaded" in broken("other-sizes", lambda folder: change_config(folder, hidden_size=32))

    def wordless(folder: Path) -> None:
        for path in (*folder.glob("tokenizer*"), *folder.glob("vocab*")):
            path.unlink()

    assert "must hold config.json, weights and a tokenizer" in broken("wordless", wordless)

    def wordy(folder: Path) -> None:
        import transformers

        words = {
            word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "more"])
        }
        transformers.BertTokenizerFast(vocab=words).save_pretrained(folder)

    assert "its tokenizer must know no more words than its weights" in broken("wordy", wordy)


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@needs_packages
def test_a_model_without_a_trained_classifier_is_refused(model: Path, tmp_path: Path):
    import transformers

    # Of a bare BERT the classifier would be drawn at random, and differently in each worker.
    folder = tmp_path / "bare"
    shutil.copytree(model, folder)
    transformers.BertModel.from_pretrained(model).save_pretrained(folder)
    change_config(folder, id2label=dict(enumerate(LABELS)))
    assert "its weights must be those of a trained classifier, got none for classifier" in refused(tmp_path, folder)


@needs_packages
def test_a_model_that_gives_no_number_is_refused(model: Path, tmp_path: Path):
    import transformers

    folder = tmp_path / "nan"
    shutil.copytree(model, folder)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(model)
    network.classifier.bias.data.fill_(float("nan"))
    network.save_pretrained(folder)
    assert "must give every text a finite score, got nan" in refused(tmp_path, folder)


def test_without_the_packages_the_way_to_them_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    with pytest.raises(UnavailableError, match=r"needs torch.*make venv EXTRAS=transformers") as caught:
        check_scorer(ScorerSpec("transformers", str(tmp_path)))
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError, match="model must be given for the scorer transformers"):
        check_scorer(ScorerSpec("transformers"))


# ---- the lock of the extra ---------------------------------------------------------------------------------------------


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Return a lock as name -> (pinned version, hashes)."""
    logical = re.sub(r"\\\n", " ", (ROOT / name).read_text(encoding="utf-8"))
    entries = {}
    for line in logical.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            text, *hashes = re.split(r"\s--hash=", line)
            requirement = Requirement(text.strip())
            (pin,) = requirement.specifier
            assert pin.operator == "==", text
            entries[canonicalize_name(requirement.name)] = (pin.version, [item.strip() for item in hashes])
    return entries


def test_the_lock_of_the_extra_fits_it_and_changes_nothing_in_the_other_lock():
    extra, base = locked("requirements-transformers.lock"), locked("requirements.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in project["optional-dependencies"]["transformers"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(extra[canonicalize_name(requirement.name)][0]), text
    assert not {"torch", "transformers"} & base.keys()
    assert all(base[name][0] == extra[name][0] for name in base.keys() & extra.keys())
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", item) for _, hashes in extra.values() for item in hashes)
    assert all(hashes for _, hashes in extra.values())
    text = (ROOT / "requirements-transformers.lock").read_text(encoding="utf-8")
    assert "://" not in text and not re.search(r"^\s*-(?!-hash=)", text, flags=re.MULTILINE)
