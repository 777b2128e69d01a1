"""What a recipe may consist of, and how the best one is chosen from scores of held-out identities.

Scores of unlike data sets (mAP between 7 and 60 %) are compared as ratios: a gain is the logarithm
of one arm's mAP over another's, of the same seed. `strong` asks for settings that help everywhere,
so an arm that hurts one data set is out, whatever it brings on the others.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from msinet_core.config import TrainConfig

Changes = Mapping[str, Any]
Scores = Mapping[tuple[str, str], Mapping[int, float]]  # mAP by data set and arm, then by seed

FIELDS = {  # of `strong`, part by part
    "padding": "pad",  # in proportion
    "cosine": "schedule",
    "twice the rate": "learning_rate",
    "average": "ema",
    "jitter": "augmentation",
}
STRONG: dict[str, Changes] = {
    part: {name: TrainConfig.RECIPES["strong"][name]} for part, name in FIELDS.items()
}
RATE = "rate"  # times the rate of what a candidate is put into
CANDIDATES: dict[str, Changes] = {
    "rate x 1.5": {RATE: 1.5},
    "rate x 0.7": {RATE: 0.7},
    "gradient of 2": {"max_gradient_norm": 2.0},
    "warm-up of 6": {"warmup_epochs": 6},
    "GeM": {"pooling": "gem"},
    "batch of 64, rate x 1.5": {"identities_per_batch": 16, RATE: 1.5},
    "8 images of an identity": {"identities_per_batch": 4, "images_per_identity": 8},
    "average 0.98": {"ema": 0.98},
    "average 0.995": {"ema": 0.995},
    "no smoothing": {"label_smoothing": 0.0},
    "smoothing 0.2": {"label_smoothing": 0.2},
    "decay 0.001": {"weight_decay": 1e-3},
    "drop path": {"drop_path": 0.1},
    "colour cast": {"colour_cast": 0.3},
    "grey": {"grey": 0.1},
    "no erasing": {"augmentation": "across"},
    "centre loss": {"centre_weight": 5e-4},
    "alignment": {"alignment": "pos"},
    "scaled attention": {"scaled_attention": True},
    "AdamW": {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05},
}
if importlib.util.find_spec("pytorch_metric_learning"):
    CANDIDATES["circle loss"] = {"circle_weight": 0.5}
MOST = 3  # candidates that are taken
WORTH = 0.01  # relative gain that a candidate has to bring
HARM = 0.02  # relative loss on one data set that puts an arm out, if larger than its standard error
SEEDS = 2  # with fewer on a data set no arm is chosen


def together(parts: Iterable[Changes]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def on(base: Changes, own: Changes) -> dict[str, Any]:
    """A candidate put into a recipe.

    >>> on({"ema": 0.9}, {"rate": 2})
    {'ema': 0.9, 'learning_rate': 0.13}
    """
    rate = own.get(RATE, 1) * base.get("learning_rate", TrainConfig.learning_rate)
    found = {**base, **{name: value for name, value in own.items() if name != RATE}}
    return {**found, "learning_rate": round(rate, 6)} if RATE in own else found


def parts() -> dict[str, Changes]:
    """The paper's recipe, `strong`, that without each of its parts, and its first parts alone."""
    found: dict[str, Changes] = {"paper": {}, "strong": together(STRONG.values())}
    for name in STRONG:
        found[f"strong - {name}"] = together(STRONG[other] for other in STRONG if other != name)
    found["paper + padding"] = dict(STRONG["padding"])
    found["paper + padding + cosine"] = {**STRONG["padding"], **STRONG["cosine"]}
    return found


def candidates(name: str, base: Changes, count: int = len(CANDIDATES)) -> dict[str, Changes]:
    """A recipe with each of the first `count` candidates put in, by name."""
    own = list(CANDIDATES.items())[:count]
    return {f"{name} + {part}": on(base, changes) for part, changes in own}


def against(arm: str) -> str:
    """What an arm is set against: that to which its last part was added, or all of `strong`.

    >>> [against(arm) for arm in ("paper + padding", "strong - jitter + GeM", "strong - jitter")]
    ['paper', 'strong - jitter', 'strong']
    """
    less, _, part = arm.rpartition(" + ")
    return less or ("strong" if part.startswith("strong - ") else "paper")


def relative_gains(scores: Scores, arm: str, base: str) -> dict[str, np.ndarray]:
    """By data set: log(mAP of an arm / mAP of another), one for each seed that has both."""
    found = {}
    for data in dict.fromkeys(data for data, _ in scores):
        one, other = scores.get((data, arm), {}), scores.get((data, base), {})
        seeds = sorted(one.keys() & other.keys())
        if seeds:
            found[data] = np.array([np.log(one[seed] / other[seed]) for seed in seeds])
    return found


def mean_gain(own: Mapping[str, np.ndarray]) -> float:
    """Over data sets, each counted alike."""
    return float(np.mean([values.mean() for values in own.values()]))


def hurts(own: Mapping[str, np.ndarray]) -> bool:
    """Whether one data set loses more than it may, and more than one standard error."""
    return any(
        values.mean() < -HARM and (len(values) < 2 or -values.mean() > error(values))
        for values in own.values()
    )


def error(values: np.ndarray) -> float:
    """Standard error of a mean."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def worth(scores: Scores, arm: str) -> float | None:
    """What the last part of an arm brings, if that is worth having, more than one standard error
    and no data set's loss; else None.
    """
    own = relative_gains(scores, arm, against(arm))
    every = np.concatenate([*own.values(), np.empty(0)])
    if len(every) < 2 or hurts(own):
        return None
    gain = mean_gain(own)
    return gain if gain >= WORTH and gain > error(every) else None


def combinations(scores: Scores, name: str, base: Changes) -> dict[str, Changes]:
    """A recipe with the best two, three, ... of the candidates that help, of which no two are
    about the same thing.
    """
    found = {part: worth(scores, f"{name} + {part}") for part in CANDIDATES}
    ranked = sorted((-gain, part) for part, gain in found.items() if gain is not None)
    taken: dict[str, Changes] = {}
    for _, part in ranked:
        if len(taken) < MOST and not CANDIDATES[part].keys() & together(taken.values()).keys():
            taken[part] = CANDIDATES[part]
    names = list(taken)
    combined = {}
    for count in range(2, len(names) + 1):
        arm = " + ".join((name, *names[:count]))
        own = base
        for part in names[:count]:
            own = on(own, taken[part])
        combined[arm] = dict(own)
    return combined


def best(scores: Scores, arms: Sequence[str], sets: Sequence[str]) -> str:
    """Of these arms the one that gains most over the paper's recipe on average over these data
    sets, of those that hurt no data set at all; `strong` where none has seeds enough.
    """
    found: dict[str, float] = {}
    for arm in arms:
        own = relative_gains(scores, arm, "paper")
        if arm == "paper" or hurts(own) or any(len(own.get(data, ())) < SEEDS for data in sets):
            continue
        found[arm] = mean_gain({data: own[data] for data in sets})
    return max(found, key=lambda arm: found[arm], default="strong")
