"""`load_model`: an `Embedder` from whatever holds a network.

A SOURCE is everywhere the same: a run folder, a .pth or .safetensors file (the authors' or ours),
an .onnx file, a network of a library (timm:NAME, torchvision:NAME), or a function of one's own that
gives a network (package.module:function). Another kind is one more entry of `OPENERS`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from msinet_core import functions
from msinet_core.config import TrainConfig
from msinet_core.errors import ReidError
from msinet_core.models import MSINet, library, reference
from msinet_core.retrieval.embedder import Embedder
from msinet_core.retrieval.onnx_model import OnnxModel
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.networks import load_network
from msinet_core.space import Genotype, slot_label


@dataclass(frozen=True)
class Wanted:
    """What was said of a SOURCE besides its name."""

    genotype: Genotype | None = None
    pretrained: bool | None = None
    weights: str | None = None


Opener = Callable[[str, Wanted], Embedder]


def load_model(
    source: str | Path,
    *,
    genotype: Genotype | str | None = None,
    pretrained: bool | None = None,
    weights: str | Path | None = None,
    **options: Any,
) -> Embedder:
    """The network of a SOURCE, in evaluation mode, with the size and colours of its pictures.

    genotype: needed for a file of weights alone with a slot of `none` or `exchange`, which have no
        weights to tell them apart. pretrained: of a library's network, whether with the library's
        weights; by default if the name has their tag, as in timm:resnet50.a1_in1k. weights: a file
        of a library's network or of a function's, in place of its own. options: fields of
        `Embedder`, such as flip=True; height and width of what does not say them are 256 and 128.
    `ReidError` for anything that is no SOURCE.
    """
    if isinstance(genotype, str):
        genotype = Genotype.parse(genotype)
    text = str(source)
    wanted = Wanted(genotype, pretrained, None if weights is None else str(weights))
    for fits, opener in OPENERS:
        if fits(text):
            return replace(opener(text, wanted), **options)
    raise ReidError(
        f"there is no model at {text!r}; give a training run's folder, a .pth or .safetensors file "
        "of weights, an .onnx file, timm:NAME, torchvision:NAME, or package.module:function"
    )


def _from_run(source: str, wanted: Wanted) -> Embedder:
    config, model = RunFolder(source).config(), load_network(source)
    assert isinstance(config, TrainConfig)
    return Embedder(model, config.height, config.width, on_bad_image=config.on_bad_image)


def _from_onnx(source: str, wanted: Wanted) -> Embedder:
    model = OnnxModel(source)
    about = model.about
    return Embedder(
        model,
        *model.size,
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        after_necks=about["after_necks"],
    )


def _from_weights(source: str, wanted: Wanted) -> Embedder:
    state = reference.read_state_dict(source)
    if any(name.startswith("trunk.") for name in state):  # our own names
        state = {reference.reference_name(name): value for name, value in state.items()}
    model: MSINet = reference.load_msinet(state, wanted.genotype or genotype_of(state))
    return Embedder(model)


def _from_library(source: str, wanted: Wanted) -> Embedder:
    pretrained = False if wanted.weights else wanted.pretrained
    network, prepared = library.library_network(source, pretrained)
    if source.startswith("torchvision:"):
        network = library.without_classifier(network)
    network.eval()
    if wanted.weights:
        _take_weights(network, wanted.weights)
    elif prepared is None:
        warnings.warn(
            f"{source} has random weights here; for the library's give pretrained=True or a tag, "
            "as in timm:resnet50.a1_in1k, and for a file's weights=FILE",
            stacklevel=3,
        )
    if prepared is None:
        return Embedder(network)
    height, width, mean, std = prepared.height, prepared.width, prepared.mean, prepared.std
    return Embedder(network, height, width, mean=mean, std=std)


def _from_function(source: str, wanted: Wanted) -> Embedder:
    functions.trust(source)  # the user wrote it
    made = functions.call(source)
    embedder = made if isinstance(made, Embedder) else Embedder(_as_module(source, made))
    if isinstance(embedder.model, nn.Module):
        embedder.model.eval()
        if wanted.weights:
            _take_weights(embedder.model, wanted.weights)
    return embedder


class FunctionModule(nn.Module):
    """A function, images B x 3 x H x W -> features B x D, as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def _as_module(source: str, made: object) -> nn.Module:
    if isinstance(made, nn.Module):
        return made
    if callable(made):
        return FunctionModule(made)
    raise ReidError(
        f"{source} gave a {type(made).__name__}; it should give a module, a function of images, or "
        "an Embedder"
    )


def _take_weights(network: nn.Module, file: str) -> None:
    """All of a network's weights from a file, which may hold more, such as a classifier."""
    state, own = reference.read_state_dict(file), network.state_dict()
    for name, value in own.items():
        if name not in state or state[name].shape != value.shape:
            found = tuple(state[name].shape) if name in state else "nothing"
            raise ReidError(
                f"the weights in {file!r} are of another network: {name} is {tuple(value.shape)} "
                f"here and {found} there"
            )
    network.load_state_dict({name: state[name] for name in own})


def genotype_of(state: dict[str, Tensor]) -> Genotype:
    """The genotype that the authors' names of weights tell; `ReidError` where they do not."""
    slots: list[str] = []
    for slot in range(12):
        prefix = f"cells.{(0, 1, 3, 4, 6, 7)[slot // 2]}._op{slot % 2 + 2}"
        if f"{prefix}.fc1.weight" in state:
            slots.append("channel_gate")
        elif f"{prefix}.gamma" in state:
            slots.append("cross_attention")
        else:
            raise ReidError(
                f"these weights do not tell `none` from `exchange` in {slot_label(slot)}, as "
                "neither has any; give the genotype as well"
            )
    return Genotype(tuple(slots))


def _ends_in(*suffixes: str) -> Callable[[str], bool]:
    return lambda source: Path(source).suffix in suffixes


OPENERS: tuple[tuple[Callable[[str], bool], Opener], ...] = (
    (lambda source: Path(source).is_dir(), _from_run),
    (_ends_in(".onnx"), _from_onnx),
    (_ends_in(".pth", ".pt", ".safetensors"), _from_weights),
    (library.is_library_name, _from_library),
    (functions.is_function_name, _from_function),
)
