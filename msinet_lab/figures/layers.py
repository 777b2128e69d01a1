"""Which layers of a network give maps: found by showing it an image, whatever network it is.

Shapes: N images of H x W pixels, C channels, h x w positions of a map, T tokens. The tokens of a
transformer become a map through the grid of its patches; class token and registers are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from msinet_core.errors import ReidError

STRIDE = 4  # of the finest map that is called a stage; the stem's are finer
MOST_EXTRA = 16  # tokens that are no place of the picture: of the class, registers
FEWEST_BLOCKS = 3
Grid = tuple[int, int]


@dataclass(frozen=True)
class Layer:
    """A module whose output is a map of the image, or the tokens of one.

    grid: h x w. form: the axes of the output. extra: tokens in front that are left out of the map.
    """

    module: nn.Module
    grid: Grid
    form: Literal["NCHW", "NHWC", "NTC", "TNC"] = "NCHW"
    extra: int = 0

    def as_map(self, output: Tensor) -> Tensor:
        """What the module gave, as N x C x h x w."""
        if self.form == "NCHW":
            return output
        if self.form == "NHWC":
            return output.permute(0, 3, 1, 2)
        tokens = output if self.form == "NTC" else output.transpose(0, 1)  # N x T x C
        return tokens[:, self.extra :].transpose(1, 2).unflatten(2, self.grid)


def layers(model: nn.Module, images: Tensor) -> dict[str, Layer]:
    """The layers that give maps of the images (N x 3 x H x W), in the order of their work.

    `stage 1`, `stage 2`, ...: the last one at each size of map, the finest first; `block 1`, ... of
    a network whose maps have all one size, as a transformer's. Asked of the model itself, of its
    trunk where it has one. `ReidError` where there are none.
    """
    trunk = getattr(model, "trunk", model)
    found: dict[nn.Module, Layer] = {}

    def seen(module: nn.Module, _: Any, output: Any) -> None:
        layer = _layer_of(module, output, images, [one.grid for one in found.values()])
        if layer is not None:
            found[module] = layer

    watch(model, [module for module in trunk.modules() if module is not trunk], images, seen)
    outer = set(_outermost(trunk, found))
    by_grid = {layer.grid: layer for module, layer in found.items() if module in outer}
    if not by_grid:
        raise ReidError(f"{type(model).__name__} has no layer that gives a map of its images")
    if len(by_grid) == 1 and (blocks := _blocks(trunk, found)):
        return {f"block {place}": layer for place, layer in enumerate(blocks, 1)}
    return {f"stage {place}": layer for place, layer in enumerate(by_grid.values(), 1)}


def telling_layer(found: dict[str, Layer]) -> str:
    """The name of the layer to look at first: the last one, but the last but one of a network with
    a class token, whose features hear nothing else of the last.
    """
    names = list(found)
    return names[-2] if found[names[-1]].extra and len(names) > 1 else names[-1]


def maps_at(model: nn.Module, images: Tensor, layer: Layer) -> Tensor:
    """What a layer makes of the images, N x C x h x w."""
    return layer.as_map(output_of(model, layer.module, images))


def output_of(model: nn.Module, module: nn.Module, images: Tensor) -> Any:
    """What one module gives when the model sees the images."""
    held: list[Any] = []
    watch(model, [module], images, lambda _, given, output: held.append(output))
    return held[-1]


def watch(
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
        model(images.to(device_of(model)))


@contextmanager
def evaluation(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode for the length of a `with`."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter asks for its gradient for the length of a `with`."""
    asking = [one for one in model.parameters() if one.requires_grad]
    for one in asking:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in asking:
            one.requires_grad_(True)


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters(), torch.empty(0)).device


def _layer_of(
    module: nn.Module, output: Any, images: Tensor, grids: Sequence[Grid]
) -> Layer | None:
    """A module's output as a layer; None where it is no map, nor tokens of a grid seen before."""
    if not isinstance(output, Tensor):
        return None
    count, size = len(images), (images.shape[2], images.shape[3])
    if output.ndim == 4 and len(output) == count:
        first, last = (output.shape[1], output.shape[2]), (output.shape[2], output.shape[3])
        channels_last = _unevenness(first, size) < _unevenness(last, size)
        grid = first if channels_last else last
        if grid[0] * grid[1] > 1 and grid[0] * STRIDE <= size[0]:
            return Layer(module, grid, "NHWC" if channels_last else "NCHW")
    if output.ndim == 3:
        for grid in reversed(grids):
            for form, (images_axis, tokens_axis) in (("NTC", (0, 1)), ("TNC", (1, 0))):
                extra = output.shape[tokens_axis] - grid[0] * grid[1]
                if output.shape[images_axis] == count and 0 <= extra <= MOST_EXTRA:
                    return Layer(module, grid, form, extra)  # type: ignore[arg-type]
    return None


def _unevenness(grid: Grid, size: Grid) -> float:
    """How far the cells of a map are from the proportions of the picture's pixels; 0 where they
    have them.
    """
    return abs(math.log(size[0] / grid[0]) - math.log(size[1] / grid[1]))


def _outermost(module: nn.Module, found: dict[nn.Module, Layer]) -> list[nn.Module]:
    """The modules below that gave maps and lie in no other such; in place of a sequence whose maps
    have several sizes its parts, and of a single one its own.
    """
    outer = []
    for child in module.children():
        inside = {found[part].grid for part in child.children() if part in found}
        several = isinstance(child, nn.Sequential) and len(inside) > 1
        outer += [child] if child in found and not several else _outermost(child, found)
    return (_outermost(outer[0], found) or outer) if len(outer) == 1 else outer


def _blocks(trunk: nn.Module, found: dict[nn.Module, Layer]) -> list[Layer]:
    """The longest row of like modules that all give maps, in the order of their work."""
    rows: list[list[nn.Module]] = [[]]
    for parent in trunk.modules():
        if isinstance(parent, nn.Sequential | nn.ModuleList):
            kinds = {type(child) for child in parent}
            rows += [[c for c in parent if type(c) is kind and c in found] for kind in kinds]
    longest: set[nn.Module] = set(max(rows, key=lambda row: len(list(row))))
    if len(longest) < FEWEST_BLOCKS:
        return []
    return [layer for module, layer in found.items() if module in longest]
