"""All results of a page side by side: metrics with intervals, CMC, distances, ROC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.retrieval import (
    Bootstrap,
    RetrievalResult,
    compare,
    count_pairs,
    metric_intervals,
)
from msinet_lab.figures.comparison import cmc_curves, distance_histograms, has_both, roc_curves
from msinet_lab.figures.elements import Html, drawing, table, tag
from msinet_lab.report.subjects import Subject

LABELS = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mINP": "mINP"}


def compared(subjects: Sequence[Subject]) -> Html | None:
    """Metrics and curves of all results."""
    results = {one.name: one.result for one in subjects if one.result is not None}
    if not results:
        return None
    return tag(
        "section",
        tag("h2", "Metrics"),
        _metrics(results),
        tag(
            "p",
            "In %. Below each: where 95 % of the values lie when identities are drawn anew "
            "(bootstrap, all queries of an identity together).",
            class_="faint",
        ),
        _paired(results),
        _curves(results),
    )


def _metrics(results: Mapping[str, RetrievalResult]) -> Html:
    rows = []
    for name, result in results.items():
        intervals, metrics = _intervals(result), result.metrics()
        rows.append([name, *(_metric(metrics[key], intervals, key) for key in LABELS)])
        ranking = result.ranking
        rows[-1] += [f"{ranking.num_counted:,} of {ranking.num_queries:,}"]
        rows[-1] += [f"{len(result.gallery_table):,}"]
    return table(("", *LABELS.values(), "queries that count", "gallery"), rows)


def _intervals(result: RetrievalResult) -> pd.DataFrame:
    """Over redrawn identities; empty where no query counts."""
    counts = result.ranking.counted.any()
    return metric_intervals(result, Bootstrap("identity")) if counts else pd.DataFrame()


def _metric(value: float, intervals: pd.DataFrame, key: str) -> Html:
    if key not in intervals.index:
        return tag("td", "–")
    low, high = 100 * intervals.loc[key, ["low", "high"]]
    inside = tag("span", f"{low:.1f} to {high:.1f}", class_="faint")
    return tag("td", tag("b", f"{100 * value:.1f}"), Html("<br>"), inside)


def _paired(results: Mapping[str, RetrievalResult]) -> Html | None:
    """Each result against the first, where they have the same queries."""
    (first, base), *others = results.items()
    rows = []
    for name, result in others:
        try:
            found = compare(base, result, unit="identity", draws=2000)
        except ReidError:
            continue  # other queries: nothing can be paired
        low, high = (100 * value for value in found.interval)
        clear = "yes" if found.significant else "no: zero lies inside"
        interval = f"{low:+.1f} to {high:+.1f}"
        difference = f"{100 * found.difference:+.1f}"
        rows.append([name, difference, interval, clear, found.better, found.worse])
    if not rows:
        return None
    head = ("", "mAP, points", "95 % interval", "clear?", "queries better", "worse")
    return tag("div", tag("h3", f"Against {first}, query by query"), table(head, rows))


def _curves(results: Mapping[str, RetrievalResult]) -> Html:
    pairs = {name: count_pairs(result) for name, result in results.items()}
    rocs = {name: one.roc() for name, one in pairs.items() if has_both(one)}
    cmc = cmc_curves({name: result.ranking for name, result in results.items()})
    errors = [
        f"{name}: {100 * roc.equal_error[0]:.1f} % at distance {roc.equal_error[1]:.3f}"
        for name, roc in zip(results, rocs.values(), strict=False)
        if len(rocs) == len(results)
    ]
    said = f"Equal error rate: {'; '.join(errors)}. " if errors else ""
    return tag(
        "div",
        tag(
            "div",
            drawing(cmc, "cumulative matching characteristic"),
            drawing(roc_curves(rocs), "ROC of match or non-match"),
            class_="side",
        ),
        tag("h3", "Distances of matches and non-matches"),
        drawing(distance_histograms(pairs), "histograms of distances"),
        tag(
            "p",
            f"{said}It is measured on the very pairs shown: a threshold for use has to be chosen "
            "on other identities.",
            class_="faint",
        ),
    )
