"""Ranking, re-ranking, embedding and large galleries against the bare matrix product and the usual
code.

`python -m benchmarks.retrieval PART` measures one part in this process; `run()` measures every part
in a fresh process of its own, so that each peak of memory is its own. Features are generated:
identities are random directions, photographs lie around them. Compiled code is warmed up first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks._rows import Row, peak, resident, row, seconds

LENGTH = 768
MARKET = {"queries": 3_368, "gallery": 15_913, "identities": 751, "cameras": 6}
MSMT17 = {"queries": 11_659, "gallery": 82_161, "identities": 3_060, "cameras": 15}


def crowd(
    queries: int, gallery: int, identities: int, cameras: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Features of queries and gallery (float32), and the labels as `rank` takes them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((identities, LENGTH), dtype=np.float32)

    def around(who: np.ndarray) -> np.ndarray:
        features = rng.standard_normal((len(who), LENGTH), dtype=np.float32)
        for start in range(0, len(who), 4096):
            features[start : start + 4096] += 0.3 * centres[who[start : start + 4096]]
        return features

    who = [rng.integers(0, identities, count) for count in (queries, gallery)]
    return (
        around(who[0]),
        around(who[1]),
        [*who, *(rng.integers(0, cameras, count) for count in (queries, gallery))],
    )


def matches_of(labels: list[np.ndarray]) -> Any:
    from msinet_core.data import Protocol
    from msinet_core.retrieval import Matches

    query, gallery = (
        pd.DataFrame({"identity": identity, "camera": camera})
        for identity, camera in zip(labels[:2], labels[2:], strict=True)
    )
    return Matches.find(query, gallery, Protocol())


# -- ranking -------------------------------------------------------------------------------------


def bare_product(query: torch.Tensor, gallery: torch.Tensor) -> None:
    """All dot products, nothing else: at once where they fit, else in blocks into one buffer."""
    if len(query) * len(gallery) < 1e8:
        torch.mm(query, gallery.T)
        return
    buffer = torch.empty(512, len(gallery))
    for start in range(0, len(query), 512):
        rows = query[start : start + 512]
        torch.mm(rows, gallery.T, out=buffer[: len(rows)])


def ranking(name: str, size: dict[str, int], rounds: int) -> list[Row]:
    from msinet_core.retrieval import rank

    query, gallery, labels = crowd(**size)
    tensors = torch.from_numpy(query), torch.from_numpy(gallery)
    rank(
        query[:50], gallery[:500], labels[0][:50], labels[1][:500], labels[2][:50], labels[3][:500]
    )
    before = peak()
    whole, bare = [seconds(lambda: rank(query, gallery, *labels))], []
    memory = peak() - before
    for _ in range(rounds):  # in turn, so that both meet the same weather
        bare.append(seconds(lambda: bare_product(*tensors)))
        whole.append(seconds(lambda: rank(query, gallery, *labels)))
    ratio = float(np.median(whole)) / float(np.median(bare))
    return [
        row(f"rank, {name}: whole evaluation", np.median(whole), "s"),
        row(f"rank, {name}: bare matrix product", np.median(bare), "s"),
        row(f"rank, {name}: whole / bare", ratio, "times", "<= 1.5"),
        row(f"rank, {name}: memory beyond the features", memory, "GB", "<= 1"),
    ]


# -- re-ranking ----------------------------------------------------------------------------------


def dense_rerank(
    query: np.ndarray, gallery: np.ndarray, k1: int = 20, k2: int = 6, share: float = 0.3
) -> np.ndarray:
    """The definition with full matrices, as it is usually written in numpy."""
    features = np.concatenate([query, gallery])
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    distance = np.maximum(2 - 2 * features @ features.T, 0)
    distance /= distance.max(axis=1, keepdims=True)
    order = np.argsort(distance, axis=1).astype(np.int32)
    count, half = len(features), round(k1 / 2)

    def reciprocal(i: int, k: int) -> np.ndarray:
        near = order[i, : k + 1]
        return near[(order[near, : k + 1] == i).any(axis=1)]

    encoding = np.zeros_like(distance)
    for i in range(count):
        members = mine = reciprocal(i, k1)
        for j in mine:
            other = reciprocal(j, half)
            if len(np.intersect1d(other, mine)) > 2 / 3 * len(other):
                members = np.append(members, other)
        members = np.unique(members)
        weight = np.exp(-distance[i, members])
        encoding[i, members] = weight / weight.sum()
    encoding = np.stack([encoding[order[i, :k2]].mean(axis=0) for i in range(count)])
    holders = [np.flatnonzero(encoding[:, column]) for column in range(count)]
    jaccard = np.empty((len(query), count), np.float32)
    for i in range(len(query)):
        overlap = np.zeros(count, np.float32)
        for column in np.flatnonzero(encoding[i]):
            rows = holders[column]
            overlap[rows] += np.minimum(encoding[i, column], encoding[rows, column])
        jaccard[i] = 1 - overlap / (2 - overlap)
    return ((1 - share) * jaccard + share * distance[: len(query)])[:, len(query) :]


def rerank_growth() -> list[Row]:
    """Both forms at growing sizes, in the proportions of Market-1501."""
    from msinet_core.retrieval import rerank

    rows, found = [], {}
    small = crowd(50, 300, 20, 3)
    rerank(small[0], small[1])
    for count in (2_000, 4_000, 8_000):
        queries = count * 3_368 // 19_281
        query, gallery, _ = crowd(queries, count - queries, max(count * 751 // 19_281, 2), 6)
        ours = min(seconds(lambda q=query, g=gallery: rerank(q, g)) for _ in range(3))
        dense = seconds(lambda q=query, g=gallery: dense_rerank(q, g))
        found[count] = ours, dense
        rows += [
            row(f"rerank, {count:,} images: ours", ours, "s"),
            row(f"rerank, {count:,} images: dense numpy", dense, "s"),
            row(
                f"rerank, {count:,} images: dense / ours",
                dense / ours,
                "times",
                ">= 10" if count == 8_000 else "",
            ),
        ]
    names = ("ours", "dense numpy")
    for place, name in enumerate(names):
        exponent = np.log2(found[8_000][place] / found[4_000][place])
        rows.append(row(f"rerank, {name}: time grows with images to the power", exponent, ""))
    return rows


def rerank_at(name: str, size: dict[str, int]) -> list[Row]:
    """Re-ranking and its metrics, distances streamed."""
    from msinet_core.retrieval import Reranking

    small = crowd(50, 300, 20, 3)
    Reranking.prepare(small[0], small[1]).rank(matches_of(small[2]))
    query, gallery, labels = crowd(**size)
    result: list[Any] = []
    matches = matches_of(labels)
    spent = seconds(lambda: result.append(Reranking.prepare(query, gallery).rank(matches)))
    rows = [
        row(f"rerank, {name}: whole, with metrics", spent, "s"),
        row(f"rerank, {name}: peak memory of the process", peak(), "GB", "<= 4"),
    ]
    return [*rows, row(f"rerank, {name}: mAP", result[0].mean_average_precision, "")]


def rerank_market() -> list[Row]:
    """Market's size, and the dense form there if this machine holds it."""
    from msinet_core.retrieval import rerank

    rows = rerank_at("Market-1501's size", MARKET)
    query, gallery, _ = crowd(**MARKET)
    ours = min(seconds(lambda: rerank(query, gallery)) for _ in range(2))
    rows.append(row("rerank, Market-1501's size: distances", ours, "s"))
    if available_memory() > 18:
        dense = seconds(lambda: dense_rerank(query, gallery))
        rows.append(row("rerank, Market-1501's size: dense numpy", dense, "s"))
        rows.append(row("rerank, Market-1501's size: dense / ours", dense / ours, "times", ">= 10"))
    return rows


def available_memory() -> float:
    """GB that can be had without swapping, where the system says so."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) / 1e6
    except (OSError, KeyError, ValueError):
        return 0.0


# -- embedding -----------------------------------------------------------------------------------


def embedding() -> list[Row]:
    """Images a second at 128 x 64, batches of 64: the plain network in evaluation mode, and
    `embed`.
    """
    from msinet_core import PAPER_GENOTYPE
    from msinet_core.models import MSINet
    from msinet_core.speed import fold_for_inference

    torch.manual_seed(0)
    model = MSINet(PAPER_GENOTYPE, 751).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.5)
    images = torch.randn(64, 3, 128, 64)
    forms: dict[str, Any] = {
        "plain": model,
        "fast": fold_for_inference(model),
        "bf16": fold_for_inference(model, "bfloat16"),
    }
    with torch.inference_mode():
        features = {name: form(images).float() for name, form in forms.items()}
        times: dict[str, list[float]] = {name: [] for name in forms}
        for turn in range(9):
            for name, form in forms.items():
                if name != "bf16" or turn < 3:
                    times[name].append(seconds(lambda form=form: form(images)))
    rate = {name: len(images) / float(np.median(values)) for name, values in times.items()}
    error = (features["fast"] - features["plain"]).abs().max() / features["plain"].abs().max()
    cosine = torch.cosine_similarity(features["bf16"], features["plain"]).min()
    native = has_bfloat16()
    kind = "native" if native else "this processor has no bf16 instructions"
    return [
        row("embed, 128 x 64: plain network", rate["plain"], "images/s"),
        row("embed, 128 x 64: folded, channels-last", rate["fast"], "images/s"),
        row("embed, 128 x 64: folded / plain", rate["fast"] / rate["plain"], "times", ">= 1.7"),
        row(
            "embed, 128 x 64: largest difference of folded features",
            error,
            "of the largest",
            "<= 1e-4",
        ),
        row("embed, 128 x 64: bf16", rate["bf16"], "images/s"),
        row(
            f"embed, 128 x 64: bf16 / plain ({kind})",
            rate["bf16"] / rate["plain"],
            "times",
            ">= 4.5" if native else "",
        ),
        row("embed, 128 x 64: least cosine of bf16 features", cosine, "", ">= 0.999"),
    ]


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


# -- large galleries -----------------------------------------------------------------------------

MILLION, PER_IDENTITY, QUERIES, TOP = 1_000_000, 20, 1_000, 50
LATENT = 32  # dimensions that the generated features really have


def identity_of(rows: np.ndarray) -> np.ndarray:
    return rows % (MILLION // PER_IDENTITY)


def million_block(first: int, last: int, seed: int) -> np.ndarray:
    """Rows of a gallery of a million: 50,000 identities, 20 photographs each.

    Trained features fill a space of far fewer dimensions than they have numbers: here identities
    are points in 32, photographs scatter around them there, and a little in all 768.
    """
    fixed = np.random.default_rng(0)
    spread = fixed.standard_normal((LATENT, LENGTH), dtype=np.float32) / np.sqrt(LATENT)
    centre = fixed.standard_normal((MILLION // PER_IDENTITY, LATENT), dtype=np.float32)
    rng = np.random.default_rng((seed, first))
    inner = rng.standard_normal((last - first, LATENT), dtype=np.float32)
    inner = centre[identity_of(np.arange(first, last))] + 0.5 * inner
    return inner @ spread + 0.3 * rng.standard_normal((last - first, LENGTH), dtype=np.float32)


def million(folder: Path) -> list[Row]:
    """Writes the store, then measures each way of searching it in a process of its own."""
    from msinet_core.retrieval import write_store

    rows = np.arange(MILLION)
    table = pd.DataFrame(
        {"identity": identity_of(rows), "camera": rows // (MILLION // PER_IDENTITY) % 6}
    )
    blocks = (
        million_block(start, min(start + 50_000, MILLION), 1) for start in range(0, MILLION, 50_000)
    )
    write_store(folder / "store", table, blocks, {})
    found = []
    for way in ("exact", "approximate", "sharded"):
        found += measured(f"million-{way}", str(folder))
    return found


def million_search(way: str, folder: Path) -> list[Row]:
    from msinet_core.retrieval import Found, GalleryIndex, open_store, search_store

    chosen = np.arange(QUERIES) * 17
    query, labels = (
        million_block(0, 17 * QUERIES, 2)[chosen],
        (identity_of(chosen), np.zeros(QUERIES, int)),
    )
    store = open_store(folder / "store")
    _ = store.table  # read before the clock starts
    before, name = resident(), f"top-{TOP} of {QUERIES:,} queries in {MILLION:,} images, {way}"
    result: list[Found] = []
    if way == "sharded":
        spent = seconds(lambda: result.append(search_store(store, query, TOP, *labels)))
        rows = [row(f"{name}: search", spent, "s")]
    else:
        built: list[GalleryIndex] = []
        rows = [
            row(
                f"{name}: build",
                seconds(lambda: built.append(GalleryIndex.build(store, kind=way))),
                "s",
            )
        ]  # type: ignore[arg-type]
        built[0].search(query[:10], TOP)
        rows.append(
            row(
                f"{name}: search",
                seconds(lambda: result.append(built[0].search(query, TOP, *labels))),
                "s",
            )
        )
    rows.append(row(f"{name}: memory held", resident() - before, "GB"))
    exact = folder / "exact.npy"
    if way == "exact":
        np.save(exact, result[0].gallery_index)
    else:
        pairs = zip(result[0].gallery_index, np.load(exact), strict=True)
        recall = float(np.mean([len(np.intersect1d(one, two)) / TOP for one, two in pairs]))
        rows.append(row(f"{name}: recall", recall, "", ">= 0.999" if way == "sharded" else ""))
    return rows


# -- all of it -----------------------------------------------------------------------------------

PARTS: dict[str, Callable[..., list[Row]]] = {
    "rank-market": lambda: ranking("Market-1501's size", MARKET, rounds=9),
    "rank-msmt17": lambda: ranking("MSMT17's size", MSMT17, rounds=2),
    "rerank-growth": rerank_growth,
    "rerank-market": rerank_market,
    "rerank-msmt17": lambda: rerank_at("MSMT17's size", MSMT17),
    "embed": embedding,
    "million": lambda: million_in_scratch(),
    "million-exact": lambda folder: million_search("exact", Path(folder)),
    "million-approximate": lambda folder: million_search("approximate", Path(folder)),
    "million-sharded": lambda folder: million_search("sharded", Path(folder)),
}


def million_in_scratch() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        return million(Path(folder))


def measured(part: str, *arguments: str) -> list[Row]:
    """The rows of a part, from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.retrieval", part, *arguments, "--json"]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
    )
    return json.loads(done.stdout.splitlines()[-1])


def run() -> pd.DataFrame:
    """Every part; about ten minutes on two cores, 4 GB of memory and 4 GB of disk."""
    rows = []
    for part in PARTS:
        if not part.startswith("million-"):
            print(f"   {part}", flush=True)
            rows += measured(part)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    given = parser.parse_args()
    rows = PARTS[given.part](*given.arguments)
    print(json.dumps(rows) if given.json else pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
