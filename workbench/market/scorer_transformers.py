"""The scorer `transformers`: a network for sequence classification, such as FinBERT, from a folder of this machine.

Enters: the folder, as `save_pretrained` writes it (config, weights, tokenizer). Leaves: per text p(positive) - p(negative), in [-1, 1].
Nothing is ever downloaded and no code from the folder is run. A worker gives the network one thread, so that its answers do not depend
on the number of processors; processors of another make may round its last bits differently, of which the millionths of a score that are
kept seldom show anything.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import DataError, UnavailableError
from workbench.market.files import show
from workbench.market.scorer import LONGEST

_PACKAGES = ("torch", "transformers")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json")
_WORDS = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
_POLES = {"positive": ("positive", "pos", "bullish"), "negative": ("negative", "neg", "bearish")}
_NEUTRAL = ("neutral", "neu", "mixed")
# In these families the first positions are taken by the padding, so a text may be that much shorter than the table of positions.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer", "mpnet")


def check_model(folder: str) -> str:
    """Return what a model is called, having checked its folder without loading it.

    Raises
    ------
    DataError
        The folder is not that of a model, or its labels do not tell positive from negative.
    UnavailableError
        torch or transformers is not installed.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"the scorer transformers needs {' and '.join(missing)}, which are not installed; "
            "make venv EXTRAS=transformers in a checkout, or its wheel with the extra [transformers], brings them"
        )
    config = _config(folder)
    _poles(folder, config)
    return f"transformers {show(Path(folder).name)}"


def _config(folder: str) -> Mapping[str, Any]:
    path, shown = Path(folder), show(folder, 200)
    if not path.is_dir():
        raise DataError(f"model must be the folder of a model, got {shown}, which is no folder; give --model FOLDER")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        config = None
    except (OSError, ValueError) as error:
        raise DataError(f"model {shown}: its config.json cannot be read: {show(error)}; save the model again") from None
    # Without a vocabulary transformers makes one up in which every word is unknown.
    there = [any(any(path.glob(pattern)) for pattern in patterns) for patterns in (_WEIGHTS, _WORDS)]
    if not isinstance(config, dict) or not all(there):
        raise DataError(
            f"model {shown}: must hold config.json, weights and a tokenizer, as save_pretrained writes them; it does not"
        )
    return config


def _poles(folder: str, config: Mapping[str, Any]) -> tuple[int, int]:
    """Return the positions of the labels positive and negative."""
    labels = config.get("id2label")
    pairs = labels.items() if isinstance(labels, dict) else ()
    named = {str(label).strip().lower(): int(place) for place, label in pairs if str(place).isdecimal()}
    found = [[named[name] for name in names if name in named] for names in _POLES.values()]
    others = set(named) - {*_POLES["positive"], *_POLES["negative"], *_NEUTRAL}
    kind = config.get("problem_type") or "single_label_classification"
    if [len(places) for places in found] != [1, 1] or others or kind != "single_label_classification":
        raise DataError(
            f"model {show(folder, 200)}: must choose one of the labels positive, negative and, if it has it, neutral, "
            f"got {show(labels)} ({show(kind)}); name them in id2label of its config.json"
        )
    return found[0][0], found[1][0]


class TransformersScorer:
    """Scores texts with the model of a folder, which `check_model` has checked.

    Raises
    ------
    DataError
        The weights or the tokenizer cannot be loaded.
    """

    def __init__(self, folder: str) -> None:
        # Both are read when the packages are imported, and are a second lock beside `local_files_only`.
        os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(1)
        self.name = check_model(folder)
        self._torch = torch
        self._positive, self._negative = _poles(folder, _config(folder))
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        network = transformers.AutoModelForSequenceClassification
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local)
            model, found = network.from_pretrained(folder, **local, dtype=torch.float32, output_loading_info=True)
        except Exception as error:  # what these raise for a damaged folder is anything from KeyError to RuntimeError
            reason = show(str(error).strip().split("\n")[0] or type(error).__name__, 200)
            raise DataError(f"model {show(folder, 200)}: cannot be loaded: {reason}; save it again") from None
        if found["missing_keys"]:
            # They would be drawn at random, anew in each worker.
            raise DataError(
                f"model {show(folder, 200)}: its weights must be those of a trained classifier, "
                f"got none for {show(sorted(found['missing_keys'])[0])}; name a model made for sentiment"
            )
        if len(self._tokenizer) > model.get_input_embeddings().num_embeddings:
            raise DataError(
                f"model {show(folder, 200)}: its tokenizer must know no more words than its weights, got {len(self._tokenizer)} and "
                f"{model.get_input_embeddings().num_embeddings}; save both from one model"
            )
        self._model = model.eval()
        self._longest = _longest(self._tokenizer, self._model.config)

    def score(self, texts: Sequence[str]) -> list[tuple[float, bool]]:
        """Return (p(positive) - p(negative), whether only the beginning was scored) for each text, all in one batch."""
        cut = [text[:LONGEST] for text in texts]
        batch = self._tokenizer(cut, truncation=True, max_length=self._longest, padding=True, return_tensors="pt")
        with self._torch.inference_mode():
            chances = self._model(**batch).logits.double().softmax(dim=-1)
        scores = (chances[:, self._positive] - chances[:, self._negative]).tolist()
        lengths = [len(ids) for ids in self._tokenizer(cut, truncation=False)["input_ids"]]
        return [
            (score, len(text) > LONGEST or length > self._longest)
            for score, text, length in zip(scores, texts, lengths, strict=True)
        ]


def _longest(tokenizer: Any, config: Any) -> int:
    """Return how many tokens a text may have, those at its ends included."""
    positions = getattr(config, "max_position_embeddings", None) or 512
    if config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    return int(min(tokenizer.model_max_length, positions))
