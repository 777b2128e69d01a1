"""What pages say that is counted elsewhere, written into them: `python -m benchmarks._pages`.

In docs/results.md a table stands between `<!-- table NAME -->` and `<!-- end -->`, NAME being one
of `TABLES`; it is written from the CSVs in `results`, never by hand, and a test compares the two.
In docs/reading-order.md files have their numbers of lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
LINES = re.compile(r"^\| `([\w/]+\.py)` \| \d+ \|", re.MULTILINE)
GPU_ROW = re.compile(r"train, .+?, batch (\d+), ([^:/]+?)(?:: (.+)| / (.+))?$")

OF_A_LOOP = re.compile(r": (loop|step|loop / step|seconds to .+)$|no flags|--speed|--compile")


def filled(text: str) -> str:
    """The page with every table as the CSVs have it now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def counted(text: str) -> str:
    """The page with every row `| file | lines |` as long as the file is now."""

    def row(found: re.Match[str]) -> str:
        lines = len((ROOT / found[1]).read_text(encoding="utf-8").splitlines())
        return f"| `{found[1]}` | {lines} |"

    return LINES.sub(row, text)


def write() -> None:
    for name, change in (("results", filled), ("reading-order", counted)):
        page = ROOT / "docs" / f"{name}.md"
        page.write_text(change(page.read_text(encoding="utf-8")), encoding="utf-8")


def shown(figure: float) -> str:
    """Three digits: 0.599, 1.18, 105, 13,020.

    >>> [shown(x) for x in (0.5986, 1.17686, 104.83, 13020, 4.8e-7)]
    ['0.599', '1.18', '105', '13,020', '4.8e-07']
    """
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def listed(name: str, prefix: str | tuple[str, ...] = "") -> str:
    """The rows of `results/NAME.csv` whose name begins with `prefix` (any of several), as they
    are.
    """
    rows = read(name)
    rows = rows[rows["name"].str.startswith(prefix)]
    return lines_of(rows, prefix if isinstance(prefix, str) else "")


def lines_of(rows: pd.DataFrame, common: str = "") -> str:
    """Some rows as they are, without what all of their names begin with."""
    if rows.empty:
        return "*Not measured yet.*"
    lines = [
        [row["name"].removeprefix(common), f"{shown(row['figure'])} {row['unit']}".strip(), kept]
        for row, kept in zip(rows.to_dict("records"), limits(rows), strict=True)
    ]
    return f"{table([['what', 'figure', 'limit'], *lines])}\n\n{circumstances(rows)}"


def limits(rows: pd.DataFrame) -> Iterable[str]:
    """Each row's limit, and whether it was missed."""
    for limit, ok in zip(rows["limit"], rows["ok"], strict=True):
        yield f"`{limit}`" + (", **missed**" if str(ok) == "False" else "") if limit else ""


def throughput() -> str:
    """Images a second of the input pipeline, by the number of threads or workers."""
    rows = pd.read_csv(RESULTS / "data_throughput.csv")
    wide = rows.pivot_table(
        index=["augmentation", "path"], columns="workers", values="images_per_second", sort=False
    )
    head = [f"{count} worker{'s' * (count != 1)}" for count in wide.columns]
    lines = [[*key, *map(shown, line)] for key, line in zip(wide.index, wide.values, strict=True)]
    return table([["augmentation", "path", *head], *lines])


def gpu_training() -> str:
    """A line for each form of the network, and four columns for each size of batch."""
    rows = read("gpu")
    columns = {None: "images/s", "peak memory": "GB", "bytes moved / bandwidth": "bandwidth"}
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for name, figure in zip(rows["name"], rows["figure"], strict=True):
        if (found := GPU_ROW.match(name)) and not OF_A_LOOP.search(name):
            batch, form, what, other = found.groups()
            column = f"/ {other}" if other else columns.get(what, what)
            cells.setdefault(form, {})[batch, column] = shown(figure)
    heads = list(dict.fromkeys(key for line in cells.values() for key in line))
    heads.sort(key=lambda key: int(key[0]))  # stable: columns keep their order
    lines = [[form, *(line.get(key, "") for key in heads)] for form, line in cells.items()]
    titles = [f"{column}, batch {batch}" for batch, column in heads]
    return f"{table([['form', *titles], *lines])}\n\n{circumstances(rows)}"


def gpu_loops() -> str:
    """What a run's own loop makes of its step."""
    rows = read("gpu")
    loops = rows["name"].map(lambda name: bool(OF_A_LOOP.search(name)))
    return lines_of(rows[loops & rows["name"].str.startswith("train, ")], "train, ")


def study() -> str:
    from msinet_lab.study import markdown

    return markdown(study_rows()).strip()


def study_plan() -> str:
    """What the study's deviations ask of one that is to decide."""
    from msinet_lab.study import pairs_needed, plan

    found = plan(study_rows()).to_dict("records")
    head = [
        "claim",
        "pairs there were",
        "deviation, points",
        "visible then",
        "pairs for two points",
    ]
    lines = [
        [
            f"{line['part']}: {line['claim']}",
            str(line["pairs"]),
            f"{100 * line['deviation']:.1f}",
            f"{100 * line['visible']:.1f}",
            str(line["needed"]),
        ]
        for line in found
    ]
    spreads = (1, 1.5, 2, 3, 4, 5)
    needed = [[f"{spread:g}", str(pairs_needed(spread / 100))] for spread in spreads]
    other = table([["deviation, points", "pairs for two points"], *needed])
    return f"{table([head, *lines])}\n\n{other}"


def at_two_points() -> str:
    """What the study, and the later one at full width, say of each claim where two points of mAP
    are asked for.
    """
    from benchmarks import _recipe_tables
    from msinet_lab.study import verdicts
    from msinet_lab.study.planning import TWO_POINTS
    from msinet_lab.study.verdicts import verdict

    found: dict[str, list[str]] = {}
    studies = verdicts(study_rows()), _recipe_tables.verdicts(recipe_rows("recipe"))
    for place, table_ in enumerate(studies):
        for line in table_[table_["data"] == "all"].to_dict("records"):
            ends = (100 * line[name] for name in ("difference", "low", "high"))
            said = verdict(line["low"], line["high"], TWO_POINTS)
            cells = [_recipe_tables.interval(*ends), str(line["pairs"]), said]
            found.setdefault(line["claim"], [""] * 6)[3 * place : 3 * place + 3] = cells
    heads = ("points (95 %)", "pairs", "at two points")
    titles = [f"{study}: {name}" for study in ("first study", "full width") for name in heads]
    return table([["claim", *titles], *([claim, *cells] for claim, cells in found.items())])


def study_rows() -> pd.DataFrame:
    rows = pd.read_csv(RESULTS / "study.csv", keep_default_na=False)
    return rows.astype({"mAP": float})


def recipe_rows(file: str) -> pd.DataFrame:
    from benchmarks import recipe

    return recipe.read(RESULTS / f"{file}.csv")


def recipe(name: str, file: str = "recipe") -> str:
    """A table of `recipe.csv` or another such by its function's name, and where its rows were
    computed.
    """
    from benchmarks import _recipe_tables

    rows = recipe_rows(file)
    where = _recipe_tables.about(rows)
    lines = getattr(_recipe_tables, name)(rows)
    return f"{table(lines)}\n\n*{where['device']}; torch {where['torch']}; {where['date']}*"


def recorded() -> str:
    """What `msinet_lab.recorded` holds: its searches, a line each, and its network."""
    from msinet_core.search.history import SearchHistory
    from msinet_lab.diagnosis import agreement
    from msinet_lab.recorded import recorded_network, recorded_searches

    head = ["search", "slots with a weight above 0.5", "largest", "smallest winner", "entropy"]
    lines = []
    for name, run in recorded_searches().items():
        history = SearchHistory.read(run)
        winners = history.weights[-1].max(axis=1)
        entropy = (history.entropy[-1] / np.log(history.weights.shape[2])).mean()
        figures = (f"{value:.2f}" for value in (winners.max(), winners.min(), entropy))
        lines.append([name.removeprefix("recorded search, "), f"{(winners > 0.5).sum()} of 12"])
        lines[-1] += figures
    agreed = agreement([run.genotype() for run in recorded_searches().values()])
    scores = recorded_network().metrics() or {}
    percent = {name: f"{100 * scores[name]:.1f} %" for name in ("mAP", "rank1", "mINP")}
    return (
        f"{table([head, *lines])}\n\nAgreement of the seeds beyond chance (kappa): "
        f"{agreed.kappa:.2f}. The network on its 50 identities for testing: mAP {percent['mAP']}, "
        f"rank-1 {percent['rank1']}, mINP {percent['mINP']}."
    )


def read(name: str) -> pd.DataFrame:
    rows = pd.read_csv(RESULTS / f"{name}.csv", keep_default_na=False)
    return rows.astype({"figure": float})


def circumstances(rows: pd.DataFrame) -> str:
    """On what, when and with which torch: the most frequent first."""
    columns = [name for name in ("gpu", "machine", "torch", "date") if name in rows]
    found = rows[columns].astype(str).value_counts().index
    said = ("; ".join((*line[:-2], f"torch {line[-2]}", line[-1])) for line in found)
    return "*" + "*; *".join(said) + "*"


def table(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rest])


TABLES: dict[str, Callable[[], str]] = {
    "study": study,
    "study-plan": study_plan,
    "recipe": partial(recipe, "on_test"),
    "recipe-forms": partial(recipe, "forms"),
    "recipe-cpu": partial(recipe, "on_test", "recipe_cpu"),
    "recipe-ablation": partial(recipe, "ablation"),
    "recipe-random": partial(recipe, "against_random"),
    "recipe-spread": partial(recipe, "spread"),
    "two-points": at_two_points,
    "recorded": recorded,
    "step": partial(listed, "step"),
    "ranking": partial(listed, "retrieval", "rank, "),
    "reranking": partial(listed, "retrieval", "rerank, "),
    "embedding": partial(listed, "retrieval", "embed, 128 x 64: "),
    "galleries": partial(listed, "retrieval", "top-50 of 1,000 queries in 1,000,000 images, "),
    "cache": partial(listed, "data", "cache of 12,936 images: "),
    "throughput": throughput,
    "gpu-training": gpu_training,
    "gpu-loops": gpu_loops,
    "gpu-search": partial(listed, "gpu", "search, "),
    "gpu-retrieval": partial(listed, "gpu", ("embed, ", "rank, ", "rerank, ")),
}


if __name__ == "__main__":
    write()
