"""Feature maps taken out of a network, and the maps between two images that attention pictures
show.

Shapes: C channels, h x w positions of a map.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_grad_cam import GradCAM
from torch import Tensor, nn
from torch.nn import functional

from msinet_core.data import normalise
from msinet_core.errors import ReidError
from msinet_core.models.alignment import pairwise_map
from msinet_core.space import CELLS_PER_STAGE, NUM_STAGES, SLOTS_PER_CELL
from msinet_lab.figures.tiles import PhotoShelf

LAYERS = {
    f"stage {number + 1}": number * CELLS_PER_STAGE + CELLS_PER_STAGE - 1
    for number in range(NUM_STAGES)
}


def as_input(photo: np.ndarray) -> Tensor:
    """An H x W x 3 uint8 photograph as the network takes it, 1 x 3 x H x W."""
    return normalise(torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))[None])


@contextmanager
def evaluation(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode for the length of a `with`."""
    was_training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(was_training)


def _caught(model: nn.Module, module: nn.Module, images: Tensor, *, inputs: bool = False) -> Any:
    """What one module is given, or gives, when the model sees the images."""
    held: list[Any] = []
    handle = module.register_forward_hook(
        lambda _, given, out: held.append(given if inputs else out)
    )
    try:
        with evaluation(model), torch.no_grad():
            model(images.to(next(model.parameters()).device))
    finally:
        handle.remove()
    return held[0]


def stage_map(model: Any, images: Tensor, layer: str = "stage 3") -> Tensor:
    """The output of a stage, N x C x h x w."""
    if layer not in LAYERS:
        raise ReidError(f"there is no layer {layer!r}; there are {', '.join(LAYERS)}")
    return _caught(model, model.trunk.cells[LAYERS[layer]], images)


def slot_inputs(model: Any, images: Tensor, slot: int) -> tuple[Tensor, Tensor]:
    """Both branches as they enter slot 0..11, N x mid x h x w each."""
    cell, place = divmod(slot, SLOTS_PER_CELL)
    return _caught(model, model.trunk.cells[cell].slots[place], images, inputs=True)


def point_map(query: Tensor, partner: Tensor, position: int, cosine: bool = True) -> np.ndarray:
    """Where one position of the query (C x h x w) is found in the partner: h x w inner products, or
    cosines.
    """
    mine, theirs = query.flatten(1)[:, position], partner.flatten(1)  # C, C x M
    if cosine:
        mine, theirs = functional.normalize(mine, dim=0), functional.normalize(theirs, dim=0)
    return (mine @ theirs).view(partner.shape[1:]).float().cpu().numpy()


def whole_map(query: Tensor, partner: Tensor) -> np.ndarray:
    """How strongly each position of the partner is found anywhere in the query: the pairwise map U,
    h x w.
    """
    both = pairwise_map(torch.stack([query, partner]).float())
    return both[0, 1].view(partner.shape[1:]).cpu().numpy()


def strength_map(features: Tensor) -> np.ndarray:
    """Length of the feature vector at each position of a C x h x w map: what average pooling
    listens to.
    """
    return features.float().norm(dim=0).cpu().numpy()


def learned_map(model: Any, features: Tensor) -> np.ndarray | None:
    """SAM's attention of an image on itself, h x w, from its stage 3 map; None for a network
    without SAM.
    """
    if getattr(model, "learned_map", None) is None:
        return None
    with torch.no_grad():
        return model.learned_map(features[None])[0].view(features.shape[1:]).float().cpu().numpy()


def similarity_cam(
    model: Any, query: Tensor, partner: Tensor, layer: str = "stage 3"
) -> np.ndarray:
    """Grad-CAM of the pair: what in the partner (1 x 3 x H x W) makes it similar to the query. H x
    W in 0..1.
    """
    device = next(model.parameters()).device
    with evaluation(model):
        with torch.no_grad():
            wanted = functional.normalize(model(query.to(device)), dim=1)[0]

        def similarity(output: Tensor) -> Tensor:
            return functional.normalize(output, dim=-1) @ wanted

        with (
            torch.enable_grad(),
            GradCAM(model=model, target_layers=[model.trunk.cells[LAYERS[layer]]]) as cam,
        ):
            return cam(input_tensor=partner.to(device), targets=[similarity])[0]


class Looker:
    """A model and the photographs of one table: stage maps by row, the latest few kept.

    Photographs are stretched to height x width, as the network sees them.
    """

    def __init__(
        self,
        model: Any,
        table: pd.DataFrame,
        root: str | Path,
        height: int,
        width: int,
        keep: int = 64,
    ) -> None:
        self.model, self.keep = model, keep
        self.photos = PhotoShelf(root, list(table["path"]), height, width, fit="stretch")
        self._maps: OrderedDict[tuple[int, str], Tensor] = OrderedDict()

    def input(self, row: int) -> Tensor:
        """1 x 3 x H x W."""
        return as_input(self.photos[row])

    def features(self, row: int, layer: str = "stage 3") -> Tensor:
        """C x h x w."""
        key = (int(row), layer)
        if key not in self._maps:
            self._maps[key] = stage_map(self.model, self.input(row), layer)[0]
            while len(self._maps) > self.keep:
                self._maps.popitem(last=False)
        return self._maps[key]

    def strength(self, row: int) -> np.ndarray:
        """h x w, for a gallery's heatmaps."""
        return strength_map(self.features(row))


def strength_maps(
    model: Any, result: Any, root: str | Path, height: int, width: int
) -> Callable[[str, int], np.ndarray]:
    """For a gallery's heatmaps: a function (side, row) -> h x w over a `RetrievalResult`'s queries
    and gallery.
    """
    lookers = {
        "query": Looker(model, result.query_table, root, height, width),
        "gallery": Looker(model, result.gallery_table, root, height, width),
    }
    return lambda side, row: lookers[side].strength(row)
