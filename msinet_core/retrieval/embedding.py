"""`embed`: features of images by any model, quickly and in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from msinet_core.data import ImageReader, iterate_images
from msinet_core.errors import ReidError
from msinet_core.models.rounding import rounded_products
from msinet_core.retrieval.fast import fast as fast_form
from msinet_core.retrieval.onnx_model import OnnxModel
from msinet_core.runs.processes import ALONE, Processes

Model = nn.Module | OnnxModel


def embed(
    model: Model,
    images: ImageReader | Iterable[Tensor],
    *,
    after_necks: bool = False,
    flip: bool = False,
    fast: bool = True,
    precision: str = "float32",
    batch_size: int = 64,
    device: torch.device | str | None = None,
    workers: int = 0,
    progress: bool = False,
    processes: Processes = ALONE,
) -> np.ndarray:
    """Retrieval features of images by a model in evaluation mode: N x D, float32, in order.

    `model` is a module or an `OnnxModel`; `images` an `ImageReader` or an iterable of normalised
    float batches (B x 3 x H x W). `flip` averages the features of each image and its mirror image.
    `after_necks` takes the features behind the necks (better across domains). `fast` computes an
    `MSINet` with its batch norms folded away: the same features to about 1e-6, in half the time.
    `precision="bfloat16"` is faster still where the device computes in it, and a few times slower
    where it does not. The model itself is left as it is, in its mode and precision, but moves to
    `device` if one is given. Of several `processes` each embeds its share of an `ImageReader`, and
    all get all features, the same as one process would.
    """
    rows = None
    if processes.size > 1:
        if not isinstance(images, ImageReader):
            raise ReidError(
                "several processes can only share the images of an ImageReader; made by open_images"
            )
        rows = share_of(len(images), batch_size, processes)
    parts = list(
        embed_batches(
            model,
            images,
            after_necks=after_necks,
            flip=flip,
            fast=fast,
            precision=precision,
            batch_size=batch_size,
            device=device,
            workers=workers,
            progress=progress and processes.is_main_process,
            rows=rows,
        )
    )
    mine = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    features = processes.all_gather_rows(mine)
    if not len(features):
        raise ReidError("there are no images to embed")
    return features


def share_of(count: int, batch_size: int, processes: Processes) -> range:
    """This process's rows of `count`: whole batches side by side, so that batches are those of a
    process alone.
    """
    batches = -(-count // batch_size)
    first, end = (batches * rank // processes.size for rank in (processes.rank, processes.rank + 1))
    return range(min(first * batch_size, count), min(end * batch_size, count))


def embed_batches(
    model: Model,
    images: ImageReader | Iterable[Tensor],
    *,
    after_necks: bool = False,
    flip: bool = False,
    fast: bool = True,
    precision: str = "float32",
    batch_size: int = 64,
    device: torch.device | str | None = None,
    workers: int = 0,
    progress: bool = False,
    rows: range | None = None,
) -> Iterator[np.ndarray]:
    """`embed`, one batch of features (B x D) at a time; of these `rows` only, if given."""
    if isinstance(model, OnnxModel):
        _check_onnx(model, after_necks, precision, device)
        for batch in _batches(images, batch_size, torch.device("cpu"), workers, progress, rows):
            features = model.run(batch)
            yield (features + model.run(batch.flip(3))) / 2 if flip else features
        return
    target = torch.device(device) if device is not None else _device_of(model)
    was_training = model.training
    model.eval().to(target)
    try:
        network = fast_form(model, precision) if fast or precision != "float32" else model
        for batch in _batches(images, batch_size, target, workers, progress, rows):
            with torch.inference_mode(), rounded_products(False):
                result = _forward(network, batch.to(target), after_necks, flip)
            yield result.float().cpu().numpy()
    finally:
        model.train(was_training)


def _check_onnx(
    model: OnnxModel, after_necks: bool, precision: str, device: torch.device | str | None
) -> None:
    if after_necks and not model.about["after_necks"]:
        raise ReidError(
            f"{str(model.path)!r} was exported without its necks; export it again with them"
        )
    if precision != "float32":
        raise ReidError("an exported network runs in float32")
    if device is not None and torch.device(device).type != "cpu":
        raise ReidError("an exported network runs on the CPU; leave the device out")


def _device_of(model: nn.Module) -> torch.device:
    return next(
        (tensor.device for tensor in [*model.parameters(), *model.buffers()]), torch.device("cpu")
    )


def _batches(
    images: ImageReader | Iterable[Tensor],
    batch_size: int,
    device: torch.device,
    workers: int,
    progress: bool,
    rows: range | None,
) -> Iterator[Tensor]:
    count = None
    if isinstance(images, ImageReader):
        count = -(-len(range(len(images)) if rows is None else rows) // batch_size)
        images = iterate_images(images, batch_size, device, workers=workers, rows=rows)
    return iter(tqdm(images, total=count, desc="embed", unit="batch", disable=not progress))


def _forward(model: nn.Module, batch: Tensor, after_necks: bool, flip: bool) -> Tensor:
    def once(x: Tensor) -> Tensor:
        return _with_necks(model, x) if after_necks else model(x)

    return (once(batch) + once(batch.flip(3))) / 2 if flip else once(batch)


def _with_necks(model: Any, batch: Tensor) -> Tensor:
    if not hasattr(model, "embed"):
        raise ReidError(f"{type(model).__name__} has no necks; leave after_necks off")
    return model.embed(batch, after_necks=True)
