"""What a run checks of itself: its numbers, its data, its place among other processes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from msinet_core.data import protocol_for
from msinet_core.data.matches import Matches
from msinet_core.data.protocol import nothing_counts
from msinet_core.data.table import ReidDataset
from msinet_core.errors import Elsewhere, ReidError
from msinet_core.replay import NotFinite
from msinet_core.runs.checkpoints import Checkpoint
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.processes import Processes

LARGEST = 10  # norms that a report lists


def require_finite_weights(weights: Mapping[str, Tensor]) -> None:
    """The same for what is to be saved, since a loss tells of spoilt weights one step late."""
    floats = {name: value for name, value in weights.items() if value.is_floating_point()}
    sound = torch.stack([torch.isfinite(value).all() for value in floats.values()]).tolist()
    spoilt = [name for name, good in zip(floats, sound, strict=True) if not good]
    if spoilt:
        raise NotFinite({name: float(floats[name].float().sum()) for name in spoilt})


def break_down(worker: Any, run: RunFolder, error: NotFinite) -> ReidError:
    """Write the report `failure.json` and give the error to raise; the checkpoints stay as they
    are.

    The worker has `epoch`, `step`, `model`, `processes`, `rates()` and `batch_paths()`. Of a step
    that others have followed (without effect) the gradients are gone.
    """
    worker.step -= error.counted
    place = f"epoch {worker.epoch + 1} after step {worker.step}"
    model: nn.Module = worker.model
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    run.write_json(
        "failure.json",
        {
            "epoch": worker.epoch + 1,
            "steps_done": worker.step,
            "values": {name: _plain(value) for name, value in error.values.items()},
            "learning_rates": worker.rates(),
            "batch": worker.batch_paths(),
            "weight_norms": _norms(model.named_parameters()),
            "gradient_norms": None if error.counted > 1 else _norms(gradients.items()),
        },
    )
    run.log(f"not finite in {place}: {error}")
    path = str(run.path / "failure.json")
    kind = ReidError if worker.processes.is_main_process else Elsewhere
    name = next(name for name, value in error.values.items() if not math.isfinite(value))
    return kind(
        f"{name} is not finite in {place} ({error}); {path!r} has the rates, the batch and the "
        "norms. The last checkpoint is whole; begin a new run with a lower "
        "learning rate or in fp32, or mend the data"
    )


def _norms(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Any]:
    """Total Euclidean norm, the largest by name, and the names of tensors that are not finite."""
    norms = {name: float(tensor.detach().float().norm()) for name, tensor in tensors}
    finite = {name: norm for name, norm in norms.items() if math.isfinite(norm)}
    return {
        "total": _plain(math.hypot(*norms.values())),
        "largest": dict(sorted(finite.items(), key=lambda item: -item[1])[:LARGEST]),
        "not_finite": sorted(norms.keys() - finite.keys()),
    }


def _plain(value: float) -> float | str:
    """JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else str(value)


def check_same_processes(checkpoint: Checkpoint, processes: Processes, run: RunFolder) -> None:
    """`ReidError` where a run would go on with another number of processes: its batches would be
    others.
    """
    before = checkpoint.state.get("processes", 1)
    if before != processes.size:
        remedy = (
            f"resume it with `accelerate launch --multi_gpu --num_processes {before} "
            "-m msinet_core.cli ...`"
            if before > 1
            else "resume it with a plain `msinet ...`"
        )
        raise ReidError(
            f"{str(run.path)!r} was begun with {before} process{'es' * (before > 1)}, and here are "
            f"{processes.size}; {remedy}, or start a new run with --run"
        )


def digest(weights: Mapping[str, Tensor], *others: Tensor) -> bytes:
    """32 bytes that change with any bit of the tensors."""
    total = hashlib.sha256()
    for tensor in (*weights.values(), *others):
        total.update(
            tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return total.digest()


def check_test_set(dataset: ReidDataset) -> None:
    """`ReidError` now, not after training, if no query could ever be matched."""
    query, gallery = dataset.query, dataset.gallery
    protocol = protocol_for(dataset)
    if protocol.gallery_draws or (query.empty and gallery.empty):
        return
    for name, table in (("query", query), ("gallery", gallery)):
        if table.empty:
            raise ReidError(
                f"data set {dataset.name!r} has no {name} images; a test needs queries and a "
                "gallery"
            )
    if not Matches.find(query, gallery, protocol).kept.any():
        raise ReidError(nothing_counts(dataset.name, protocol))
