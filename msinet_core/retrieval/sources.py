"""`load_model`: an `Embedder` from whatever holds a network.

A SOURCE is everywhere the same: a run folder, a .pth or .safetensors file (the authors' or ours),
an .onnx file, a network of a library (timm:NAME, torchvision:NAME), a function of one's own that
gives a network (package.module:function), or in Python the network itself, a module or function of
images. Another kind is one more entry of `OPENERS`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from msinet_core import functions
from msinet_core.config import TrainConfig
from msinet_core.data.decoding import INTERPOLATIONS
from msinet_core.errors import ReidError
from msinet_core.models import MSINet, library, reference, warm_start
from msinet_core.retrieval.embedder import Embedder, name_of
from msinet_core.retrieval.onnx_model import OnnxModel
from msinet_core.runs.checkpoints import LAST
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


PREPARED = ("mean", "std", "height", "width", "interpolation")


def load_model(
    source: str | Path | nn.Module | Callable[[Tensor], Any] | Embedder,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    height: int | None = None,
    width: int | None = None,
    interpolation: str | None = None,
    genotype: Genotype | str | None = None,
    pretrained: bool | None = None,
    weights: str | Path | None = None,
    **options: Any,
) -> Embedder:
    """The network of a SOURCE, in evaluation mode, with the size and colours of its pictures.

    mean, std, height, width, interpolation: how its pictures are prepared, as in `Embedder`; where
        a source says that itself and otherwise, a warning tells so; what nobody says is 256 x 128
        pixels, bilinear, with ImageNet's colours (an ONNX file must say it, or be told).
    genotype: needed for a file of weights alone with a slot of `none` or `exchange`, which have no
        weights to tell them apart. pretrained: of a library's network, whether with the library's
        weights; by default if the name has their tag, as in timm:resnet50.a1_in1k. weights: a file
        of a library's network or of a function's, in place of its own.
    options: other fields of `Embedder`, such as output="features" or flip=True.
    `ReidError` for anything that is no SOURCE.
    """
    if isinstance(genotype, str):
        genotype = Genotype.parse(genotype)
    wanted = Wanted(genotype, pretrained, None if weights is None else str(weights))
    colours = {name: _colour(name, given) for name, given in (("mean", mean), ("std", std))}
    sizes = {"height": height, "width": width, "interpolation": interpolation}
    asked: dict[str, Any] = {**colours, **sizes}
    given = {name: value for name, value in asked.items() if value is not None}
    embedder = _open(source, wanted)
    _require_told(source, embedder, given)
    for name in sorted(set(given) & set(embedder.said)):
        own = getattr(embedder, name)
        if own != given[name]:
            warnings.warn(
                f"{_called(source)} says that its {name} is {own}; {given[name]} is taken, as was "
                "asked",
                stacklevel=2,
            )
    return replace(embedder, **given, **options)


def _open(source: Any, wanted: Wanted) -> Embedder:
    if isinstance(source, Embedder):
        return source
    if not isinstance(source, str | Path):
        return _of_network(source, source, wanted)
    text = str(source)
    for fits, opener in OPENERS:
        if fits(text):
            return opener(text, wanted)
    raise ReidError(
        f"there is no model at {text!r}; give a training run's folder, a .pth or .safetensors file "
        "of weights, an .onnx file, timm:NAME, torchvision:NAME, or package.module:function"
    )


def _colour(name: str, given: Sequence[float] | None) -> tuple[float, ...] | None:
    if given is None:
        return None
    colour = tuple(map(float, given))
    if (
        len(colour) != 3
        or not all(map(math.isfinite, colour))
        or (name == "std" and min(colour) <= 0)
    ):
        raise ReidError(
            f"{name} is three numbers (std: above 0), of red, green and blue; got {given}"
        )
    if max(map(abs, colour)) > 2:
        raise ReidError(
            f"{name} {given} seems to be of pixels from 0 to 255; here they are from 0 to 1: "
            "divide by 255"
        )
    return colour


def _require_told(source: Any, embedder: Embedder, given: dict[str, Any]) -> None:
    """An ONNX file is a black box: what it does not say of its pictures must be said."""
    if not isinstance(embedder.model, OnnxModel):
        return
    unknown = [name for name in PREPARED[:4] if name not in embedder.said and name not in given]
    if unknown:
        flags = " ".join(f"--{name} {EXAMPLES[name]}" for name in unknown)
        raise ReidError(
            f"{_called(source)} does not say the {', '.join(unknown)} of its pictures; say it, for "
            f"example: {flags}"
        )


EXAMPLES = {
    "mean": "0.485 0.456 0.406",
    "std": "0.229 0.224 0.225",
    "height": "256",
    "width": "128",
}


def _called(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else name_of(source)


def _from_run(source: str, wanted: Wanted) -> Embedder:
    run, _ = RunFolder.with_checkpoint(source)
    config, model = run.config(), load_network(source)
    assert isinstance(config, TrainConfig)
    size = config.height, config.width
    return Embedder(model, *size, on_bad_image=config.on_bad_image, said=PREPARED)


def _from_onnx(source: str, wanted: Wanted) -> Embedder:
    model = OnnxModel(source)
    said = {name: model.about[name] for name in PREPARED if name in model.about}
    said |= {name: tuple(said[name]) for name in ("mean", "std") if name in said}
    necks = model.about.get("after_necks", False)
    return Embedder(model, **said, after_necks=necks, said=tuple(said))


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
    said = {name: getattr(prepared, name) for name in PREPARED}
    if prepared.interpolation not in INTERPOLATIONS:  # "random", of training
        del said["interpolation"]
    return Embedder(network, **said, said=tuple(said))


def _from_function(source: str, wanted: Wanted) -> Embedder:
    functions.trust(source)  # the user wrote it
    return _of_network(source, functions.call(source), wanted)


def _of_network(source: Any, made: Any, wanted: Wanted) -> Embedder:
    """Of a module, a function of images, or an `Embedder` of either."""
    if not callable(made) and not isinstance(made, Embedder | OnnxModel):
        raise ReidError(
            f"{_called(source)} gave a {type(made).__name__}; it should give a module, a function "
            "of images, or an Embedder"
        )
    embedder = made if isinstance(made, Embedder) else Embedder(made)
    if isinstance(made, Embedder):
        embedder = replace(made, said=PREPARED)
    if wanted.weights:
        if not isinstance(embedder.model, nn.Module):
            raise ReidError(f"{_called(source)} is a function, which takes no weights")
        _take_weights(embedder.model, wanted.weights)
    if isinstance(embedder.model, nn.Module):
        embedder.model.eval()
    return embedder


def _take_weights(network: nn.Module, file: str) -> None:
    """All of a network's weights from a file, which may hold more, such as a classifier."""
    state = warm_start.as_timm_names_it(reference.read_state_dict(file), network)
    start = warm_start.match(network, state)
    if start.random:
        raise ReidError(
            f"the weights in {file!r} are of another network: {len(start.random):,} of its "
            f"{len(network.state_dict()):,} tensors are not there, the first {start.random[0]}"
        )
    warm_start.load(network, start)


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


def _is_run(source: str) -> bool:
    return Path(source).is_dir() or RunFolder.with_checkpoint(source)[1] != LAST


def _ends_in(*suffixes: str) -> Callable[[str], bool]:
    return lambda source: Path(source).suffix in suffixes


OPENERS: tuple[tuple[Callable[[str], bool], Opener], ...] = (
    (_is_run, _from_run),
    (_ends_in(".onnx"), _from_onnx),
    (_ends_in(".pth", ".pt", ".safetensors"), _from_weights),
    (library.is_library_name, _from_library),
    (functions.is_function_name, _from_function),
)
