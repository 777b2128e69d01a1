"""`load_model`: an `Embedder` from whatever holds a network.

A SOURCE is everywhere the same: a run folder, a .pth or .safetensors file (the authors' or ours),
an .onnx file. Another kind is one more entry of `OPENERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from msinet_core.config import TrainConfig
from msinet_core.errors import ReidError
from msinet_core.models import MSINet, reference
from msinet_core.retrieval.embedder import Embedder
from msinet_core.retrieval.onnx_model import OnnxModel
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.networks import load_network
from msinet_core.space import Genotype, slot_label

Opener = Callable[[str, Genotype | None], Embedder]


def load_model(
    source: str | Path, *, genotype: Genotype | str | None = None, **options: Any
) -> Embedder:
    """The network of a SOURCE, in evaluation mode, with the size and colours of its pictures.

    genotype: needed for a file of weights alone with a slot of `none` or `exchange`, which have no
        weights to tell them apart. options: fields of `Embedder`, such as flip=True; height and
        width of a file that does not say them are 256 and 128.
    `ReidError` for anything that is no SOURCE.
    """
    if isinstance(genotype, str):
        genotype = Genotype.parse(genotype)
    text = str(source)
    for fits, opener in OPENERS:
        if fits(text):
            return replace(opener(text, genotype), **options)
    raise ReidError(
        f"there is no model at {text!r}; give a training run's folder, a .pth or .safetensors file "
        "of weights, or an .onnx file"
    )


def _from_run(source: str, genotype: Genotype | None) -> Embedder:
    config, model = RunFolder(source).config(), load_network(source)
    assert isinstance(config, TrainConfig)
    return Embedder(model, config.height, config.width, on_bad_image=config.on_bad_image)


def _from_onnx(source: str, genotype: Genotype | None) -> Embedder:
    model = OnnxModel(source)
    about = model.about
    return Embedder(
        model,
        *model.size,
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        after_necks=about["after_necks"],
    )


def _from_weights(source: str, genotype: Genotype | None) -> Embedder:
    state = reference.read_state_dict(source)
    if any(name.startswith("trunk.") for name in state):  # our own names
        state = {reference.reference_name(name): value for name, value in state.items()}
    model: MSINet = reference.load_msinet(state, genotype or genotype_of(state))
    return Embedder(model)


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
)
