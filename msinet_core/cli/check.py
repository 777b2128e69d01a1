"""`msinet check`: whether what lies in a folder of ours is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from msinet_core.errors import ReidError
from msinet_core.files import whole_folder

Place = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|STORE|RESULT")]


def check(place: Place) -> None:
    """Say whether a run folder, a store of features or a saved result is whole, in a sentence.

    Every file is read and held against its checksum; nothing is changed. Ends with status 2, and
    the reason, where something is damaged or missing.

    Args:
        place: The folder.
    """
    print(checked(place))


def checked(place: Path) -> str:
    """What is whole in the folder; `ReidError` says what is not."""
    folder = whole_folder(place)
    kinds = {"config.json": _run, "store.json": _store, "result.json": _result}
    for name, examine in kinds.items():
        if (folder / name).exists():
            return f"{str(place)!r} is whole: {examine(folder)}"
    raise ReidError(
        f"{str(place)!r} is no run folder, store or result: it holds none of {', '.join(kinds)}"
    )


def _run(folder: Path) -> str:
    from msinet_core.runs.checkpoints import checkpoints_in, read_checkpoint
    from msinet_core.runs.folder import RunFolder
    from msinet_core.runs.guards import require_finite_weights

    run = RunFolder(folder)
    config, lines = run.config(), run.lines()
    run.genotype()
    run.metrics()
    places = checkpoints_in(folder / "checkpoints")
    for place in places:
        checkpoint = read_checkpoint(place)
        require_finite_weights(checkpoint.weights)
        if checkpoint.state.get("history_bytes", 0) > (folder / "history.jsonl").stat().st_size:
            raise ReidError(f"{str(folder / 'history.jsonl')!r} was cut or replaced")
    epochs = sum(line.get("kind") == "epoch" for line in lines)
    state = "running" if run.writer_pid() else "finished" if run.finished else "stopped"
    return (
        f"a {config.KIND} run, {state}, {epochs} of {config.epochs} epochs, "
        f"{len(lines)} lines of history, {len(places)} checkpoint{'s' * (len(places) != 1)}"
    )


def _store(folder: Path) -> str:
    from msinet_core.retrieval import open_store

    store = open_store(folder)
    count = sum(len(shard) for _, shard in store.shards())
    if "files.jsonl" in store.table_checksums and not len(store.files):
        raise ReidError(f"{str(folder)!r} has no facts of its image files; embed again")
    if len(store.table) != count:
        raise ReidError(
            f"{str(folder)!r} has {count} features and {len(store.table)} rows in its table; "
            "embed again"
        )
    return f"a store of {count:,} features of length {store.length}"


def _result(folder: Path) -> str:
    from msinet_core.retrieval import RetrievalResult

    result = RetrievalResult.load(folder)
    metrics = result.metrics()
    return (
        f"a retrieval result of {len(result.query_table):,} queries and "
        f"{len(result.gallery_table):,} gallery images, mAP {100 * metrics['mAP']:.1f} %"
    )
