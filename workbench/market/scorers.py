"""Scorers by name.

Enters: a specification: the name of a scorer and, for `transformers`, the folder of a model. Leaves: a `Scorer`, made where it is used:
the specification travels to a worker, a lexicon or a network is loaded there, once.
"""

from __future__ import annotations

from workbench.config import nearest
from workbench.errors import ConfigError
from workbench.market.files import show
from workbench.market.scorer import SCORERS, Scorer, ScorerSpec


def check_scorer(spec: ScorerSpec) -> str:
    """Return what a scorer is, with versions, having checked all that can be checked without loading it.

    Raises
    ------
    ConfigError
        There is no such scorer, or a model is missing or given in vain.
    DataError
        The folder does not hold a model that tells positive from negative.
    UnavailableError
        The packages that it needs are not installed.
    """
    if spec.name not in SCORERS:
        raise ConfigError(
            f"scorer must be one of {', '.join(SCORERS)}, got {show(spec.name)!r}{nearest(spec.name, SCORERS)}"
        )
    if spec.name == "transformers":
        from workbench.market.scorer_transformers import check_model

        if spec.model is None:
            raise ConfigError("model must be given for the scorer transformers, got none; give --model FOLDER")
        return check_model(spec.model)
    if spec.model is not None:
        raise ConfigError(
            f"model must only be given for the scorer transformers, got {show(spec.model, 200)!r} for {spec.name}; "
            "give --scorer transformers"
        )
    from workbench.market.scorer_vader import scorer_name

    return scorer_name()


def make_scorer(spec: ScorerSpec) -> Scorer:
    """Return the scorer, loaded; raises what `check_scorer` raises."""
    check_scorer(spec)
    if spec.name == "vader":
        from workbench.market.scorer_vader import VaderScorer

        return VaderScorer()
    from workbench.market.scorer_transformers import TransformersScorer

    return TransformersScorer(str(spec.model))
