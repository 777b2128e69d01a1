"""Maps of what a network sees in one image, and of one image in another.

Shapes: C channels, h x w positions of a map. A network is an `Embedder` around any module.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from msinet_core.data import normalise
from msinet_core.errors import ReidError
from msinet_core.models.alignment import pairwise_map
from msinet_core.retrieval import Embedder
from msinet_core.space import SLOTS_PER_CELL
from msinet_lab.figures.layers import (
    Layer,
    device_of,
    evaluation,
    frozen,
    layers,
    output_of,
    telling_layer,
    watch,
)
from msinet_lab.figures.roll_out import roll_out

# By the names of their papers, classes of the package grad-cam that need one backward pass.
CAMS = {
    "Grad-CAM": "GradCAM",
    "Grad-CAM++": "GradCAMPlusPlus",
    "HiResCAM": "HiResCAM",
    "XGrad-CAM": "XGradCAM",
    "LayerCAM": "LayerCAM",
    "Eigen-Grad-CAM": "EigenGradCAM",
}
ANSWERS = 4  # of a network that are kept with their gradients: about what one picture takes


def as_input(photo: np.ndarray) -> Tensor:
    """An H x W x 3 uint8 photograph as our networks take it, 1 x 3 x H x W."""
    return normalise(torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))[None])


def slot_inputs(model: Any, images: Tensor, slot: int) -> tuple[Tensor, Tensor]:
    """Both branches as they enter slot 0..11 of an MSINet, N x mid x h x w each."""
    cell, place = divmod(slot, SLOTS_PER_CELL)
    held: list[Any] = []
    module = model.trunk.cells[cell].slots[place]
    watch(model, [module], images, lambda _, given, out: held.append(given))
    return held[-1]


def point_map(query: Tensor, partner: Tensor, position: int, cosine: bool = True) -> np.ndarray:
    """Where one position of the query (C x h x w) is found in the partner.

    h x w inner products, or cosines.
    """
    mine, theirs = query.flatten(1)[:, position], partner.flatten(1)  # C, C x M
    if cosine:
        mine, theirs = functional.normalize(mine, dim=0), functional.normalize(theirs, dim=0)
    return (mine @ theirs).view(partner.shape[1:]).float().cpu().numpy()


def whole_map(query: Tensor, partner: Tensor) -> np.ndarray:
    """How strongly each position of the partner is found anywhere in the query, h x w.

    A row of the pairwise map U (SAM, docs/method.md 4).
    """
    both = pairwise_map(torch.stack([query, partner]).float())
    return both[0, 1].view(partner.shape[1:]).cpu().numpy()


def strength_map(features: Tensor) -> np.ndarray:
    """Length of the feature at each position of a C x h x w map: what average pooling hears."""
    return features.float().norm(dim=0).cpu().numpy()


def learned_map(model: Any, images: Tensor) -> np.ndarray | None:
    """SAM's attention of an image (1 x 3 x H x W) on itself, h x w; None for a network without."""
    if getattr(model, "learned_map", None) is None:
        return None
    final = output_of(model, model.trunk, images).final
    with torch.no_grad():
        return model.learned_map(final)[0].view(final.shape[2:]).float().cpu().numpy()


@dataclass(frozen=True)
class Seen:
    """One image in a network: what a layer gave, as the layer gives it, and the unit features
    (1 x D) that the network made of that, with their gradients up to there and no further.
    """

    output: Tensor
    features: Tensor


def see(embedder: Embedder, layer: Layer, image: Tensor) -> Seen:
    """Show the network an image, 1 x 3 x H x W; nothing before the layer is kept for gradients."""
    model, held = module_of(embedder), []
    image = image.to(device_of(model), memory_format=torch.channels_last)  # as it is scored

    def cut(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        held.append(output.detach().requires_grad_())
        return held[-1].clone()  # what follows may work in place

    hook = layer.module.register_forward_hook(cut)
    try:
        with evaluation(model), frozen(model), torch.enable_grad():
            features = features_of(embedder, image)
    finally:
        hook.remove()
    return Seen(held[-1], functional.normalize(features, dim=1))


def similarity_cam(
    embedder: Embedder, layer: Layer, seen: Seen, wanted: Tensor, method: str = "Grad-CAM"
) -> np.ndarray:
    """What in an image makes its features similar to the `wanted` ones (1 x D, of unit length): a
    class activation map of their cosine, h x w of the layer, not below 0.

    method: one of `CAMS`. Maps of one layer and method are on one scale. All zero where the
    features do not depend on the layer's map, as on the last of a network with a class token.
    """
    import pytorch_grad_cam  # brings torchvision and dynamo along: seconds

    kind = getattr(pytorch_grad_cam, CAMS[method])
    cosine = (seen.features * wanted).sum()
    found = torch.autograd.grad(cosine, seen.output, retain_graph=True, allow_unused=True)[0]
    if found is None:
        return np.zeros(layer.grid)
    both = (layer.as_map(one.detach()).float().cpu().numpy() for one in (seen.output, found))
    with kind(module_of(embedder), [layer.module], layer.as_map) as cam:
        drawn = cam.get_cam_image(None, layer.module, None, *both, False)
    return np.maximum(drawn[0], 0)


def features_of(embedder: Embedder, images: Tensor) -> Tensor:
    """The features of images that are normalised, N x D, with their gradients."""
    model: Any = module_of(embedder)
    output = model.embed(images, after_necks=True) if embedder.after_necks else model(images)
    return embedder._rows(output, len(images))


def module_of(embedder: Embedder) -> nn.Module:
    """The network itself; `ReidError` for one that shows nothing of its inside."""
    if not isinstance(embedder.model, nn.Module):
        raise ReidError(
            f"{type(embedder.model).__name__} shows no layers to look into; give the network "
            "itself, such as its run folder"
        )
    return embedder.model


class Looker:
    """A network and the photographs of one table: maps by row and layer, the latest few kept."""

    def __init__(
        self, embedder: Embedder, table: pd.DataFrame, root: str | Path, keep: int = 128
    ) -> None:
        self.embedder, self.table, self.root, self.keep = embedder, table, root, keep
        self.model = module_of(embedder)
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._seen: OrderedDict[tuple[int, str], Seen] = OrderedDict()

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The network's layers by name, the finest first; see `layers`."""
        size = self.embedder.height, self.embedder.width
        return layers(self.model, torch.zeros(1, 3, *size))

    @property
    def telling(self) -> str:
        """The layer to look at first; see `telling_layer`."""
        return telling_layer(self.layers)

    def layer(self, name: str = "") -> Layer:
        """One of `layers`, by default the one that tells most."""
        name = name or self.telling
        if name not in self.layers:
            raise ReidError(f"there is no layer {name!r}; there are {', '.join(self.layers)}")
        return self.layers[name]

    def input(self, row: int) -> Tensor:
        """1 x 3 x H x W, as the network sees the photograph; `ReidError` if it cannot be read."""

        def read() -> Tensor:
            reader = self.embedder.open(self.table.iloc[[row]], self.root, cache="none")
            return self.embedder.prepare(reader.read([0]))

        return self._once(("input", int(row)), read)

    def features(self, row: int, layer: str = "") -> Tensor:
        """C x h x w of a layer, by default the one that tells most."""
        chosen = self.layer(layer)
        key = "features", int(row), layer
        return self._once(key, lambda: chosen.as_map(self._see(row, layer).output.detach())[0])

    def unit(self, row: int, layer: str = "") -> Tensor:
        """1 x D, of unit length: what the network makes of the photograph."""
        return self._once(("unit", int(row)), lambda: self._see(row, layer).features.detach())

    def strength(self, row: int, layer: str = "") -> np.ndarray:
        """h x w; see `strength_map`."""
        return strength_map(self.features(row, layer))

    def rolled(self, row: int) -> np.ndarray | None:
        """h x w; see `roll_out`."""

        def make() -> np.ndarray | None:
            found = roll_out(self.model, self.input(row), self.layer())
            return None if found is None else found[0].numpy()

        return self._once(("rolled", int(row)), make)

    def learned(self, row: int) -> np.ndarray | None:
        """h x w; see `learned_map`."""
        return self._once(("learned", int(row)), lambda: learned_map(self.model, self.input(row)))

    def cam(self, row: int, other: Tensor, key: Hashable, layer: str, method: str) -> np.ndarray:
        """h x w: what in this photograph makes it similar to another, whose `unit` features are
        `other` and which `key` tells apart from others; see `similarity_cam`.
        """

        def make() -> np.ndarray:
            seen = self._see(row, layer)
            return similarity_cam(self.embedder, self.layer(layer), seen, other, method)

        return self._once(("cam", int(row), key, layer, method), make)

    def _see(self, row: int, layer: str) -> Seen:
        """The network is asked once for all maps of a photograph; the latest few answers, which
        hold much, are kept.
        """
        if (row, layer) not in self._seen:
            self._seen[row, layer] = see(self.embedder, self.layer(layer), self.input(row))
            while len(self._seen) > ANSWERS:
                self._seen.popitem(last=False)
        return self._seen[row, layer]

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
            while len(self._kept) > self.keep:
                self._kept.popitem(last=False)
        return self._kept[key]
