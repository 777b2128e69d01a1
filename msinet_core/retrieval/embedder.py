"""`Embedder`: a network and everything else that its features depend on, as one value.

features = load_model("runs/train").embed(images)     # N x D
mirrored = replace(load_model("runs/train"), flip=True)
"""

from __future__ import annotations

import hashlib
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from msinet_core.data import IMAGENET_MEAN, IMAGENET_STD, ImageReader, open_images
from msinet_core.data.batches import to_device
from msinet_core.data.threads import ahead
from msinet_core.errors import ReidError
from msinet_core.retrieval.features import require_finite
from msinet_core.retrieval.onnx_model import OnnxModel
from msinet_core.runs.processes import ALONE, Processes
from msinet_core.speed import fold_for_inference, tf32

Colour = tuple[float, float, float]
Model = nn.Module | OnnxModel | Callable[[Tensor], Any]


@dataclass(frozen=True)
class Embedder:
    """Images to retrieval features, by any network; `dataclasses.replace` changes an option.

    model: a module, images B x 3 x H x W -> features B x D, an `OnnxModel`, or any function. A
        module is left as it is, in its mode and precision, but moves to `device`.
    height, width: of the images that it takes, pixels. mean, std: of the preprocessing,
        (pixel / 255 - mean) / std, red, green, blue. interpolation: of the resizing.
    output: which of a model's outputs the features are, by key, name or place.
    said: which of these the network's source tells itself; the others are defaults.
    after_necks: features behind the necks, often better across domains.
    flip: average the features of each image and its mirror image.
    fold: compute with batch norms folded away: the same features to about 1e-6, far faster.
    precision: `bfloat16` is faster still where the device computes in it.
    batch_size: images at a time. device: where to compute; None stays where the model is.
    workers: threads that decode images. on_bad_image: `error`, or `skip` unreadable ones.
    processes: each embeds its share of a reader's images, and all get all features.
    """

    model: Model
    height: int = 256
    width: int = 128
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD
    interpolation: str = "bilinear"
    output: str | None = None
    after_necks: bool = False
    flip: bool = False
    fold: bool = True
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_size: int = 64
    device: torch.device | str | None = None
    workers: int = 0
    on_bad_image: Literal["error", "skip"] = "error"
    progress: bool = False
    processes: Processes = field(default=ALONE, repr=False)
    said: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def embed(self, images: ImageReader | Iterable[Tensor]) -> np.ndarray:
        """Features of a reader's images, or of normalised batches (B x 3 x H x W): N x D, float32,
        in order. `ReidError` where there is no image, and for features that are not finite.
        """
        rows = None
        if self.processes.size > 1:
            if not isinstance(images, ImageReader):
                raise ReidError(
                    "several processes can only share the images of an ImageReader; made by "
                    "open_images"
                )
            rows = share_of(len(images), self.batch_size, self.processes)
        parts = list(self.batches(images, rows))
        mine = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
        features = self.processes.all_gather_rows(mine)
        if not len(features):
            raise ReidError("there are no images to embed")
        require_finite(features, images.table["path"] if isinstance(images, ImageReader) else None)
        return features

    def batches(
        self, images: ImageReader | Iterable[Tensor], rows: range | None = None
    ) -> Iterator[np.ndarray]:
        """`embed`, one batch of features (B x D) at a time; of these `rows` only, if given."""
        training = isinstance(self.model, nn.Module) and self.model.training
        count = None
        try:
            run, device = self._runner()
            if isinstance(images, ImageReader):
                rows = range(len(images)) if rows is None else rows
                count = -(-len(rows) // self.batch_size)
                images = self._read(images, rows, device)
            for batch in self._shown(images, count):
                batch = batch.to(device)
                with torch.inference_mode(), tf32():
                    features = self._rows(run(batch), len(batch))
                    if self.flip:
                        features = (features + self._rows(run(batch.flip(3)), len(batch))) / 2
                yield features.float().cpu().numpy()
        finally:
            if isinstance(self.model, nn.Module):
                self.model.train(training)

    def open(self, table: pd.DataFrame, root: str | Path, cache: str = "auto") -> ImageReader:
        """The images of a table at the size that the network takes; warns of any left out."""
        reader = open_images(
            table,
            root,
            self.height,
            self.width,
            interpolation=self.interpolation,
            cache=cache,
            on_bad_image=self.on_bad_image,
            workers=self.workers,
            progress=self.progress and self.processes.is_main_process,
        )
        if reader.skipped and self.processes.is_main_process:
            warnings.warn(
                f"left out {len(reader.skipped):,} of {len(table):,} images, the first because "
                f"{reader.skipped[0]}",
                stacklevel=3,
            )
        return reader

    def prepare(self, pixels: Tensor) -> Tensor:
        """uint8 N x 3 x H x W -> float32 (pixel / 255 - mean) / std."""
        mean, std = (
            torch.tensor(c, device=pixels.device).view(3, 1, 1) for c in (self.mean, self.std)
        )
        return pixels.float().mul_(1 / (255 * std)).sub_(mean / std)

    @property
    def place(self) -> torch.device:
        """Where it computes: its device, or else the model's."""
        if self.device is None and isinstance(self.model, nn.Module):
            return device_of(self.model)
        return torch.device(self.device or "cpu")

    def on(self, device: torch.device | str | None) -> Embedder:
        """The same, computing on a device."""
        return replace(self, device=device)

    def folded(self) -> Embedder:
        """The same with its batch norms folded once, to embed again and again without a delay."""
        if not self.fold or not isinstance(self.model, nn.Module):
            return self
        model = fold_for_inference(self.model, self.precision)
        return replace(self, model=model, fold=False, precision="float32")

    def made_from(self) -> dict[str, Any]:
        """What the features depend on besides the images; values that JSON knows."""
        names = "height", "width", "mean", "std", "after_necks", "flip", "precision"
        plain = {name: getattr(self, name) for name in names}
        plain |= {name: list(plain[name]) for name in ("mean", "std")}
        if self.interpolation != "bilinear":
            plain["interpolation"] = self.interpolation
        if self.output is not None:
            plain["output"] = self.output
        return {"weights": weights_hash(self.model), **plain}

    def _read(self, reader: ImageReader, rows: range, device: torch.device) -> Iterator[Tensor]:
        def make(start: int) -> Tensor:
            chosen = np.arange(start, min(start + self.batch_size, rows.stop))
            return self.prepare(to_device(reader.read(chosen), device))

        return ahead(make, range(rows.start, rows.stop, self.batch_size), min(self.workers, 2))

    def _rows(self, output: object, count: int) -> Tensor:
        """What the model gave for `count` images, if it is one feature a row."""
        chosen = output if self.output is None else named_output(output, self.output)
        if isinstance(chosen, np.ndarray):
            chosen = torch.from_numpy(chosen)
        if isinstance(chosen, Tensor) and set(chosen.shape[2:]) == {1}:  # maps of one pixel
            chosen = chosen.flatten(1)
        if isinstance(chosen, Tensor) and chosen.dim() == 2 and len(chosen) == count:
            return chosen
        remedy = "wrap it in a module whose forward returns that"
        if self.output is None and not isinstance(output, Tensor):
            remedy = f"choose one of them with output= (--output), or {remedy}"
        raise ReidError(
            f"{name_of(self.model)} gave {_kind(chosen)} for {count} images; features are one "
            f"tensor, {count} x D: {remedy}"
        )

    def _shown(self, batches: Iterable[Tensor], count: int | None) -> Iterable[Tensor]:
        if not (self.progress and self.processes.is_main_process):
            return batches
        from tqdm.auto import tqdm

        return tqdm(batches, total=count, desc="embed", unit="batch")

    def _runner(self) -> tuple[Callable[[Tensor], Any], torch.device]:
        """What turns a batch into features, and where."""
        if isinstance(self.model, OnnxModel):
            model = self.model
            self._check_onnx(model)
            return model.run, torch.device("cpu")
        if not isinstance(self.model, nn.Module):
            self._check_function()
            return self.model, self.place
        device = self.place
        self.model.eval().to(device)
        network: Any = self.model
        if self.fold or self.precision != "float32":
            network = fold_for_inference(self.model, self.precision)
        if not self.after_necks:
            return network, device
        if not hasattr(network, "embed"):
            raise ReidError(f"{name_of(self.model)} has no necks; leave after_necks off")
        return partial(network.embed, after_necks=True), device

    def _check_function(self) -> None:
        if self.after_necks or self.precision != "float32":
            raise ReidError(
                f"{name_of(self.model)} is a function, which alone knows of its necks and its "
                "precision; leave after_necks and precision out"
            )

    def _check_onnx(self, model: OnnxModel) -> None:
        if self.after_necks and not model.about.get("after_necks"):
            raise ReidError(
                f"{str(model.path)!r} was exported without its necks; export it again with them"
            )
        if self.precision != "float32":
            raise ReidError("an exported network runs in float32")
        if self.device is not None and torch.device(self.device).type != "cpu":
            raise ReidError("an exported network runs on the CPU; leave the device out")


def share_of(count: int, batch_size: int, processes: Processes) -> range:
    """This process's rows of `count`: whole batches side by side, so that batches are those of a
    process alone.
    """
    batches = -(-count // batch_size)
    first, end = (batches * rank // processes.size for rank in (processes.rank, processes.rank + 1))
    return range(min(first * batch_size, count), min(end * batch_size, count))


def weights_hash(model: Model) -> str:
    """32 hexadecimal digits of everything in a model that its features depend on. What a function
    depends on nobody can tell: it has other ones each time, so that nothing old passes for its own.
    """
    if isinstance(model, OnnxModel):
        return model.content_hash
    if not isinstance(model, nn.Module):
        return uuid.uuid4().hex
    total = hashlib.blake2b(repr(type(model)).encode(), digest_size=16)
    total.update(str(getattr(model, "genotype", "")).encode())
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        whole = tensor.detach().cpu().contiguous().flatten()
        total.update(whole.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def named_output(output: Any, name: str) -> Any:
    """One of several outputs: of a mapping by its key, of a tuple by its place (from 0, or -1) or
    the name of a field. `ReidError` with what there is.
    """
    if isinstance(output, Mapping) and name in output:
        return output[name]
    if isinstance(output, tuple | list) and name.lstrip("-").isdigit():
        if -len(output) <= int(name) < len(output):
            return output[int(name)]
    elif not isinstance(output, Mapping | Tensor | np.ndarray) and hasattr(output, name):
        return getattr(output, name)
    raise ReidError(f"the model has no output {name!r}; it gave {_kind(output)}")


def name_of(model: Model) -> str:
    """A model's type, or the name of a function."""
    return getattr(model, "__name__", type(model).__name__)


def _kind(output: object) -> str:
    """The type of a value, and the names in it where it is a mapping."""
    if isinstance(output, Tensor | np.ndarray):
        return f"a tensor of {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} of {', '.join(map(str, output))}"
    if isinstance(output, tuple | list):
        names = getattr(output, "_fields", None) or range(len(output))
        return f"a {type(output).__name__} of {', '.join(map(str, names))}"
    return f"a {type(output).__name__}"


def device_of(model: nn.Module) -> torch.device:
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
