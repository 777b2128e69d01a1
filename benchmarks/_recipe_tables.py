"""Tables of `recipe.csv`: what the recipe's parts bring, search against random, the claims."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._choice import Scores, against
from msinet_lab.diagnosis.statistics import mean_interval
from msinet_lab.study.planning import TWO_POINTS
from msinet_lab.study.verdicts import verdict

FORMS = {
    "mAP_flip": "averaged with the mirror image",
    "mAP_necks": "behind the necks",
    "mAP_flip_necks": "both",
}
CLAIMS = (  # better, than; of part claims
    ("twins, overlap 0.4", "overlap 1", "twins split beats the usual split"),
    ("twins, overlap 0.4", "overlap 0", "twins split beats disjoint identities"),
    ("twins, overlap 0.4", "overlap 0.2", "overlap 0.4 beats 0.2"),
    ("twins, overlap 0.4", "overlap 0.6", "overlap 0.4 beats 0.6"),
    ("twins, overlap 0.4", "overlap 0.8", "overlap 0.4 beats 0.8"),
    (
        "twins, overlap 0.4",
        "identity and triplet, overlap 0.4",
        "twin memories beat identity and triplet losses",
    ),
    ("alignment pos", "alignment none", "alignment pos helps across domains"),
    ("alignment neg", "alignment none", "alignment neg helps across domains"),
    ("alignment pos_neg", "alignment none", "alignment pos_neg helps across domains"),
)
OF_GENOTYPES = {"searched": "searched beats random", "paper": "the paper's beats random"}
Lines = list[list[str]]


def scores_of(rows: pd.DataFrame) -> Scores:
    """mAP of some rows by data set and arm, then by seed, in their order."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for data, arm, seed, score in rows[["data", "arm", "seed", "mAP"]].itertuples(index=False):
        found.setdefault((data, arm), {})[seed] = score
    return found


def gains(scores: Scores, arm: str, base: str, data: str) -> np.ndarray:
    """Differences of mAP, arm - base, one for each seed that has both."""
    one, other = (scores.get((data, name), {}) for name in (arm, base))
    return np.array([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])


def said(rows: pd.DataFrame) -> str:
    """Every table that has rows, for a terminal."""
    parts = {
        "on test images": (on_test, ("test",)),
        "the choice, on held-out training identities": (ablation, ("choice",)),
        "forms of the features": (forms, ("test",)),
        "against random genotypes": (against_random, ("genotypes",)),
        "random genotypes": (spread, ("genotypes",)),
        "claims": (claims, ("claims",)),
    }
    texts = []
    for title, (make, names) in parts.items():
        if rows["part"].isin(names).any():
            head, *lines = make(rows)
            table = pd.DataFrame(lines, columns=head)
            texts.append(f"\n{title}\n{table.to_string(index=False)}")
    return "\n".join(texts)


def points(values: Iterable[float]) -> str:
    """Mean and 95 % interval of differences, in points of mAP.

    >>> points([0.01, 0.03])
    '+2.0 (-10.7 to +14.7)'
    >>> points([0.01]), points([])
    ('+1.0', '')
    """
    own = 100 * np.array(list(values), dtype=np.float64)
    if len(own) < 2:
        return f"{own[0]:+.1f}" if len(own) else ""
    return interval(*mean_interval(own))


def interval(mean: float, low: float, high: float) -> str:
    """
    >>> interval(1, -2.04, 4)
    '+1.0 (-2.0 to +4.0)'
    """
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def on_test(rows: pd.DataFrame) -> Lines:
    """The paper's recipe, `strong` and what was chosen on test images of every data set."""
    own = rows[rows["part"] == "test"]
    scores = scores_of(own)
    lines = [["data", "recipe", "mAP in %", "to the paper's, points (95 %)", "seeds"]]
    for data in own["data"].unique():
        for arm in own.loc[own["data"] == data, "arm"].unique():
            found = list(scores[data, arm].values())
            change = "" if arm == "paper" else points(gains(scores, arm, "paper", data))
            lines.append([data, arm, f"{100 * np.mean(found):.1f}", change, str(len(found))])
    return lines


def ablation(rows: pd.DataFrame) -> Lines:
    """Of the choice, on held-out training identities: what each part brings to what it was put
    into, or takes with it from what it was taken out of.
    """
    held = rows[rows["part"] == "choice"]
    scores, sets = scores_of(held), list(held["data"].unique())
    titles = [f"{data}, points (95 %)" for data in sets]
    lines = [["part", "to", *titles, "seeds"]]
    arms = [arm for arm in held["arm"].unique() if arm != "paper"]
    for arm in sorted(arms, key=lambda arm: (against(arm).count(" + "), against(arm))):
        base = against(arm)
        own = {data: gains(scores, arm, base, data) for data in sets}
        most = max(map(len, own.values()))
        part = arm.removeprefix(base).strip() or arm
        lines.append([part, base, *map(points, own.values()), str(most)])
    return lines


def forms(rows: pd.DataFrame) -> Lines:
    """What other forms of a network's features bring, on test images, over all networks."""
    own = rows[rows["part"] == "test"]
    sets = list(own["data"].unique())
    lines = [["features", *(f"{data}, points (95 %)" for data in sets)]]
    for form, name in FORMS.items():
        differences = own[form].astype(float) - own["mAP"]
        lines.append([name, *(points(differences[own["data"] == data]) for data in sets)])
    return lines


def against_random(rows: pd.DataFrame) -> Lines:
    """Each setting of the search, and the paper's genotype, against the median random genotype of
    the same seed.
    """
    own = rows[rows["part"] == "genotypes"]
    sets = list(own["data"].unique())
    lines = [["genotype", *(f"{d}: {w}" for d in sets for w in ("above the median", "points"))]]
    for arm in [arm for arm in own["arm"].unique() if not arm.startswith("random ")]:
        cells: list[str] = []
        for data in sets:
            differences = to_median(own[own["data"] == data], arm)
            above = f"{(differences > 0).sum()} of {len(differences)}"
            cells += [above if len(differences) else "", points(differences)]
        lines.append([arm, *cells])
    return lines


def to_median(rows: pd.DataFrame, arm: str) -> np.ndarray:
    """mAP of an arm less that of the median random genotype, for each seed with all of them."""
    drawn = rows[rows["arm"].str.startswith("random ")].pivot(
        index="seed", columns="arm", values="mAP"
    )
    medians = drawn.dropna().median(axis=1)
    return (rows[rows["arm"] == arm].set_index("seed")["mAP"] - medians).dropna().to_numpy()


def spread(rows: pd.DataFrame) -> Lines:
    """How far random genotypes lie apart, and how far one lies from itself with another seed."""
    lines = [
        ["data", "genotypes", "seeds", "between genotypes, points", "between seeds of one, points"]
    ]
    own = rows[(rows["part"] == "genotypes") & rows["arm"].str.startswith("random ")]
    for data, group in own.groupby("data", sort=False):
        table = group.pivot(index="arm", columns="seed", values="mAP").dropna(axis=1)
        between, within = (f"{100 * value:.1f}" for value in deviations(table.to_numpy()))
        lines.append([str(data), *map(str, table.shape), between, within])
    return lines


def deviations(table: np.ndarray) -> tuple[float, float]:
    """Of genotypes x seeds: standard deviation of the genotypes' own means, with what the seeds
    add to it taken out, and of what is left once both means are.

    >>> deviations(np.array([[1.0, 2.0], [3.0, 4.0]]))
    (1.4142135623730951, 0.0)
    """
    rows, columns = table.shape
    if min(rows, columns) < 2:
        return float("nan"), float("nan")
    left = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    within = float((left**2).sum() / ((rows - 1) * (columns - 1)))
    between = float(table.mean(1).var(ddof=1)) - within / columns
    return max(0.0, between) ** 0.5, within**0.5


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Of every claim, for each data set and for all together, at two points: as the study's."""
    every = {**of_claims(rows[rows["part"] == "claims"]), **of_genotypes(rows)}
    found = []
    for text, pairs in every.items():
        pairs = {data: values for data, values in pairs.items() if len(values)}
        if len(pairs) > 1:
            pairs["all"] = np.concatenate(list(pairs.values()))
        for data, values in pairs.items():
            mean, low, high = mean_interval(values)
            line = "claims", text, data, len(values), mean, low, high
            found.append((*line, verdict(low, high, TWO_POINTS)))
    columns = ["part", "claim", "data", "pairs", "difference", "low", "high", "verdict"]
    return pd.DataFrame(found, columns=columns)


def of_claims(rows: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Of each claim about splits, supervision and alignment: differences by data set."""
    scores, sets = scores_of(rows), rows["data"].unique()
    return {
        text: {data: gains(scores, better, than, data) for data in sets}
        for better, than, text in CLAIMS
    }


def of_genotypes(rows: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Of each claim about genotypes: the same, random ones standing for their seed's median."""
    own = rows[rows["part"] == "genotypes"]
    return {
        text: {data: to_median(group, arm) for data, group in own.groupby("data", sort=False)}
        for arm, text in OF_GENOTYPES.items()
    }


def claims(rows: pd.DataFrame) -> Lines:
    """Every claim over each data set and over all together: difference, pairs, verdict."""
    lines = [["claim", "data", "points (95 %)", "pairs", "verdict"]]
    for line in verdicts(rows).to_dict("records"):
        mean, low, high = (100 * line[name] for name in ("difference", "low", "high"))
        points = interval(mean, low, high) if line["pairs"] > 1 else f"{mean:+.1f}"
        lines.append([line["claim"], line["data"], points, str(line["pairs"]), line["verdict"]])
    return lines


def about(rows: pd.DataFrame) -> dict[str, Any]:
    """Where and when the rows were computed."""
    return {name: " and ".join(rows[name].unique()) for name in ("device", "torch", "date")}
