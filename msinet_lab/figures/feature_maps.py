"""Feature maps taken out of a network, and maps between two images that attention pictures show.

Shapes: C channels, h x w positions of a map. A network is any module that gives features of images.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
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
from msinet_core.space import SLOTS_PER_CELL
from msinet_lab.figures.tiles import PhotoShelf

STRIDE = 4  # of the finest map that is called a stage; the stem's are finer
Shapes = dict[nn.Module, torch.Size]  # of what modules give, in the order of their work


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


def _watch(
    model: nn.Module,
    modules: Iterable[nn.Module],
    images: Tensor,
    seen: Callable[[nn.Module, Any, Any], None],
) -> None:
    """Show the model the images; each module calls `seen` with itself, its inputs, its output."""
    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(seen).remove)
        stack.enter_context(evaluation(model))
        stack.enter_context(torch.no_grad())
        model(images.to(next(model.parameters()).device))


def output_of(model: nn.Module, module: nn.Module, images: Tensor) -> Any:
    """What one module gives when the model sees the images."""
    held: list[Any] = []
    _watch(model, [module], images, lambda _, given, out: held.append(out))
    return held[-1]


def slot_inputs(model: Any, images: Tensor, slot: int) -> tuple[Tensor, Tensor]:
    """Both branches as they enter slot 0..11 of an MSINet, N x mid x h x w each."""
    cell, place = divmod(slot, SLOTS_PER_CELL)
    held: list[Any] = []
    module = model.trunk.cells[cell].slots[place]
    _watch(model, [module], images, lambda _, given, out: held.append(given))
    return held[-1]


def layers(model: nn.Module, images: Tensor) -> dict[str, nn.Module]:
    """`stage 1`, `stage 2`, ...: the last module at each size of map, the finest first.

    Asked of the model itself, shown the images (N x 3 x H x W): those of its modules that give 4-D
    maps, of its trunk where it has one. `ReidError` where there are none.
    """
    trunk = getattr(model, "trunk", model)
    shapes: Shapes = {}

    def seen(module: nn.Module, _: Any, out: Any) -> None:
        maps = isinstance(out, Tensor) and out.ndim == 4 and out.shape[2] * out.shape[3] > 1
        if maps and out.shape[2] * STRIDE <= images.shape[2]:
            shapes[module] = out.shape

    _watch(model, [module for module in trunk.modules() if module is not trunk], images, seen)
    outer = set(_outermost(trunk, shapes))
    by_size = {shape[2:]: module for module, shape in shapes.items() if module in outer}
    if not by_size:
        raise ReidError(f"{type(model).__name__} has no layer that gives a map of its images")
    return {f"stage {place}": module for place, module in enumerate(by_size.values(), 1)}


def _outermost(module: nn.Module, shapes: Shapes) -> list[nn.Module]:
    """The modules below that gave maps and lie in no other such; of a single one, its own."""
    found = []
    for child in module.children():
        found += [child] if child in shapes else _outermost(child, shapes)
    return (_outermost(found[0], shapes) or found) if len(found) == 1 else found


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


def similarity_cam(model: Any, layer: nn.Module, query: Tensor, partner: Tensor) -> np.ndarray:
    """Grad-CAM of the pair: what in the partner (1 x 3 x H x W) makes it similar to the query.

    H x W in 0..1, from the maps of one of the model's `layers`.
    """
    from pytorch_grad_cam import GradCAM  # brings torchvision and dynamo along: seconds

    device = next(model.parameters()).device
    with evaluation(model):
        with torch.no_grad():
            wanted = functional.normalize(model(query.to(device)), dim=1)[0]

        def similarity(output: Tensor) -> Tensor:
            return functional.normalize(output, dim=-1) @ wanted

        with torch.enable_grad(), GradCAM(model=model, target_layers=[layer]) as cam:
            return cam(input_tensor=partner.to(device), targets=[similarity])[0]


class Looker:
    """A model and the photographs of one table: maps by row and layer, the latest few kept.

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

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """The model's layers by name, the finest first; see `layers`."""
        return layers(self.model, self.input(0))

    def input(self, row: int) -> Tensor:
        """1 x 3 x H x W."""
        return as_input(self.photos[row])

    def features(self, row: int, layer: str = "") -> Tensor:
        """C x h x w of a layer, by default the last one."""
        name = layer or list(self.layers)[-1]
        if name not in self.layers:
            raise ReidError(f"there is no layer {layer!r}; there are {', '.join(self.layers)}")
        key = (int(row), name)
        if key not in self._maps:
            self._maps[key] = output_of(self.model, self.layers[name], self.input(row))[0]
            while len(self._maps) > self.keep:
                self._maps.popitem(last=False)
        return self._maps[key]


def strength_maps(
    model: Any, result: Any, root: str | Path, height: int, width: int
) -> Callable[[str, int], np.ndarray]:
    """For a gallery's heatmaps: a function (side, row) -> h x w over a result's tables."""
    lookers = {
        "query": Looker(model, result.query_table, root, height, width),
        "gallery": Looker(model, result.gallery_table, root, height, width),
    }
    return lambda side, row: strength_map(lookers[side].features(row))
