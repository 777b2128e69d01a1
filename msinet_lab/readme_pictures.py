"""`make figures`: the pictures that the README shows, from a demo run, into `figures/`.

    python -m msinet_lab.readme_pictures [--run runs/demo] [--to figures]

A demo that is not there yet is made first (minutes). The panel's screenshot and the notebooks'
thumbnails are made by the browser tests (`MSINET_SHOTS=figures`), since they need a browser.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from msinet_core.retrieval import load_model
from msinet_lab.demo import run_demo
from msinet_lab.figures.architecture import alpha_heatmap
from msinet_lab.figures.attention import alignment_figure, cell_of
from msinet_lab.figures.feature_maps import Looker, point_map, whole_map
from msinet_lab.figures.network import draw_network
from msinet_lab.figures.retrieval import best_and_worst, rank_list_figure, shelves
from msinet_lab.figures.style import save
from msinet_lab.figures.tiles import read_photo

POINT = 0.35, 0.5  # on the chest, as shares of height and width


def main() -> None:
    """Make every picture and say where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m msinet_lab.readme_pictures", description="The pictures of the README."
    )
    run = "folder of a demo run; made if it is not there"
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help=run)
    parser.add_argument("--to", type=Path, default=Path("figures"), help="where the pictures go")
    words = parser.parse_args()
    torch.manual_seed(0)
    for path in draw_pictures(run_demo(words.run), words.to):
        print(path)


def draw_pictures(demo: Any, folder: Path) -> list[Path]:
    """Architecture, alpha heatmap, rank lists and alignment maps of a demo, as PNG in `folder`."""
    result = demo.trained
    queries = best_and_worst(result.ranking.average_precision, 2)
    ranked = rank_list_figure(result, *shelves(result, demo.dataset.root), queries)
    network = draw_network(demo.train_run.genotype())
    return [
        save(network, folder / "architecture.png", 110),
        save(alpha_heatmap(demo.search_run), folder / "alpha_heatmap.png", 110),
        save(ranked, folder / "rank_list.png", 100),
        save(_alignment(demo), folder / "alignment_map.png", 110),
    ]


def _alignment(demo: Any) -> Figure:
    """A point on the best query's chest, and where the network finds it in the nearest match."""
    result, root = demo.trained, demo.dataset.root
    embedder = load_model(demo.train_run.path)
    query = best_and_worst(result.ranking.average_precision, 1)[0]
    head = result.rank_list(query, 50)
    rows = query, int(head.gallery_index[head.is_match][0])
    tables = result.query_table, result.gallery_table
    maps: list[Any] = []
    photos: list[Any] = []
    for table, row in zip(tables, rows, strict=True):
        looker = Looker(embedder, table, root)
        maps.append(looker.features(row, "stage 2"))
        photos.append(read_photo(root / table["path"].iloc[row], 256, 128, fit="stretch"))
    one, two = maps
    found = point_map(one, two, cell_of(*POINT, *one.shape[1:]))
    shown = {"where the point is": found, "where any of it is": whole_map(one, two)}
    title = "A point of the query, found in another camera's photograph"
    return alignment_figure(photos[0], photos[1], POINT, shown, title)


if __name__ == "__main__":
    main()
