"""Finished searches and one well-trained network, small, for notebooks to open on.

Made by `python -m msinet_lab.recorded.making`; how, and on what, is in docs/results.md. The people
are drawn with a seed of their own, so that those of any other seed were never seen in training.
"""

from pathlib import Path

from msinet_core.runs.folder import RunFolder

HERE = Path(__file__).parent


def recorded_searches() -> dict[str, RunFolder]:
    """Finished searches by name ("recorded search, seed 0", ...): settings, history and genotype,
    no weights.
    """
    folders = sorted(HERE.glob("search-seed-*"))
    return {
        f"recorded search, seed {folder.name.removeprefix('search-seed-')}": RunFolder(folder)
        for folder in folders
    }


def recorded_network() -> RunFolder:
    """A finished training on generated people at 128 x 64, its weights in half precision.

    Classifiers, which only training has a use for, are left away; it cannot be trained on.
    """
    return RunFolder(HERE / "network")
