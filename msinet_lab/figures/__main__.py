"""`make figures`: the pictures that the README shows, from a demo run, into `figures/`.

    python -m msinet_lab.figures [--run runs/demo] [--to figures]

A demo that is not there yet is made first (minutes). The panel's screenshot and the notebooks'
thumbnails are made by the browser tests (`MSINET_SHOTS=figures`), since they need a browser.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

from msinet_core.training import load_network
from msinet_lab.demo import DemoResult, run_demo
from msinet_lab.figures.architecture import alpha_heatmap, alpha_history
from msinet_lab.figures.attention import alignment_figure, cell_of
from msinet_lab.figures.feature_maps import Looker, point_map, whole_map
from msinet_lab.figures.network import draw_network
from msinet_lab.figures.retrieval import best_and_worst, rank_list_figure, shelves
from msinet_lab.figures.style import save


def main() -> None:
    """Make every picture and say where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m msinet_lab.figures", description="The pictures that the README shows."
    )
    parser.add_argument(
        "--run",
        type=Path,
        default=Path("runs/demo"),
        help="folder of a demo run; made if it is not there",
    )
    parser.add_argument("--to", type=Path, default=Path("figures"), help="where the pictures go")
    words = parser.parse_args()
    torch.manual_seed(0)
    for path in readme_figures(run_demo(words.run), words.to):
        print(path)


def readme_figures(demo: DemoResult, folder: Path) -> list[Path]:
    """Architecture, alpha heatmap, rank lists and alignment maps of a demo, as PNG in `folder`."""
    epochs, alphas = alpha_history(demo.search_run.lines())
    result, root = demo.trained, demo.dataset.root
    queries = best_and_worst(result.ranking.average_precision, 2)
    genotype = demo.train_run.genotype()
    assert genotype is not None
    return [
        save(draw_network(genotype), folder / "architecture.png", 110),
        save(
            alpha_heatmap(alphas[-1], f"Softmax weights after epoch {epochs[-1]}"),
            folder / "alpha_heatmap.png",
            110,
        ),
        save(
            rank_list_figure(result, *shelves(result, root), queries), folder / "rank_list.png", 100
        ),
        save(_alignment(demo), folder / "alignment_map.png", 110),
    ]


def _alignment(demo: DemoResult) -> Figure:
    """A point on the chest of the best query, and where the network finds it in the nearest right
    match.
    """
    result, config = demo.trained, demo.train_run.config()
    model = load_network(demo.train_run)
    query = best_and_worst(result.ranking.average_precision, 1)[0]
    head = result.rank_list(query, 50)
    partner = int(head.gallery_index[head.is_match][0])
    layer, row, column = "stage 2", 0.35, 0.5
    mine, theirs = (
        Looker(model, table, demo.dataset.root, config.height, config.width)
        for table in (result.query_table, result.gallery_table)
    )
    one, two = mine.features(query, layer), theirs.features(partner, layer)
    photo, other = (
        Looker(model, table, demo.dataset.root, 256, 128).photos[place]
        for table, place in ((result.query_table, query), (result.gallery_table, partner))
    )
    found = point_map(one, two, cell_of(row, column, *one.shape[1:]))
    return alignment_figure(
        photo,
        other,
        found,
        row,
        column,
        whole=whole_map(one, two),
        title="A point of the query, found in another camera's photograph",
    )


if __name__ == "__main__":
    main()
