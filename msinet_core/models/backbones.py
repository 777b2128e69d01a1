"""Other trunks than MSINet's: networks of torchvision and timm, and of one's own, as two maps.

`build_backbone` gives a trunk and the channels of its maps, for `ReidNetwork`. The part branch has
the map before the last stage, the global branch the last; of a transformer, the tokens of its last
two blocks as maps, without the class token. Shapes: N images, C channels, h x w positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from msinet_core import functions
from msinet_core.errors import ReidError
from msinet_core.models.blocks import TrunkMaps
from msinet_core.models.library import is_library_name, library_network, timm_data_config

MSINET = "msinet"
SHORT = {name: f"torchvision:{name}" for name in ("resnet18", "resnet50")}
STAGES = ("layer1", "layer2", "layer3", "layer4")  # of a ResNet, by its libraries' names


def build_backbone(
    name: str,
    size: Sequence[int],
    *,
    pretrained: bool | None = None,
    last_stride: int = 1,
) -> tuple[nn.Module, tuple[int, int]]:
    """The trunk of a name, and the channels of its maps (part, final).

    name: resnet18, resnet50, timm:NAME, torchvision:NAME, or package.module:function, called
        without arguments, for a module that gives one map or two (N x C x h x w) or tokens
        (N x L x C). size: of its images, height and width. pretrained: with the library's weights;
        None: if the name has their tag. last_stride: 1 leaves a ResNet's last stage as fine as the
        one before it, as is usual for ReID. `ReidError` where that cannot be.
    """
    trunk: nn.Module
    full = SHORT.get(name, name)
    if full.startswith("torchvision:"):
        network, _ = library_network(full, pretrained)
        trunk = ResNetTrunk(network) if hasattr(network, "layer4") else ChainTrunk(network, name)
    elif full.startswith("timm:"):
        network, _ = library_network(full, pretrained, size)
        trunk = TimmTrunk(network, name)
    elif functions.is_function_name(full):
        trunk = OwnTrunk(functions.call(full), name)
    else:
        raise ReidError(
            f"there is no backbone {name!r}; give {MSINET}, {', '.join(SHORT)}, timm:NAME, "
            "torchvision:NAME, or package.module:function"
        )
    if last_stride == 1:
        keep_last_stride(trunk)
    return trunk, _widths(trunk, name, size)


class ResNetTrunk(nn.Module):
    """A ResNet of torchvision without its classifier; the maps after its third and fourth stage."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.stages = nn.ModuleList(getattr(whole, stage) for stage in STAGES)

    def forward(self, images: Tensor) -> TrunkMaps:
        x = part = self.stem(images)  # N x 64 x H/4 x W/4
        for stage in self.stages:
            part, x = x, stage(x)
        return TrunkMaps(part, x)  # N x c2 x H/16 x W/16, N x c3 x H/32 x W/32

    @property
    def last_stage(self) -> nn.Module:
        return self.stages[-1]


class ChainTrunk(nn.Module):
    """A network of torchvision that is a chain of blocks: the last map larger than the final one,
    and the final one.
    """

    def __init__(self, whole: Any, name: str) -> None:
        super().__init__()
        if hasattr(whole, "features"):
            blocks = [*whole.features]
        elif hasattr(whole, "trunk_output"):  # RegNet
            blocks = [whole.stem, *whole.trunk_output]
        elif hasattr(whole, "layers"):  # MNASNet
            blocks = [*whole.layers]
        else:
            raise ReidError(
                f"{name} is no chain of blocks whose maps could be taken; timm has most networks "
                "with their maps, timm:NAME"
            )
        self.blocks = nn.ModuleList(blocks)
        # Swin keeps channels last and has a norm behind its blocks.
        self.norm = whole.norm if hasattr(whole, "permute") else None

    def forward(self, images: Tensor) -> TrunkMaps:
        x, maps = images, []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        final = x if self.norm is None else self.norm(x)
        pixels = x.shape[1:3] if self.norm is not None else x.shape[2:4]
        part = x
        for candidate in reversed(maps):
            sides = candidate.shape[1:3] if self.norm is not None else candidate.shape[2:4]
            if sides.numel() > pixels.numel():
                part = candidate
                break
        if self.norm is None:
            return TrunkMaps(part, final)
        return TrunkMaps(part.permute(0, 3, 1, 2), final.permute(0, 3, 1, 2))


class TimmTrunk(nn.Module):
    """A network of timm without its classifier: the maps of its last two stages (of a transformer,
    of its last two blocks), images normalised as its weights want them.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: Any, name: str) -> None:
        super().__init__()
        if not hasattr(network, "forward_intermediates"):
            raise ReidError(
                f"timm gives no maps of {name}; choose another, or a function of your own that "
                "gives its maps, package.module:function"
            )
        self.network = network
        network.prune_intermediate_layers(2, prune_norm=False, prune_head=True)
        self._normalise_as(timm_data_config(network))

    def _normalise_as(self, config: dict[str, Any]) -> None:
        """Images come normalised by ImageNet's mean and deviation."""
        from msinet_core.data.augmentation import IMAGENET_MEAN, IMAGENET_STD

        known, wanted = (IMAGENET_MEAN, IMAGENET_STD), (config["mean"], config["std"])
        self.renormalised = known != tuple(map(tuple, wanted))
        mean, std, other_mean, other_std = (
            torch.tensor(values).view(3, 1, 1) for values in (*known, *wanted)
        )
        self.register_buffer("scale", std / other_std, persistent=False)
        self.register_buffer("shift", (mean - other_mean) / other_std, persistent=False)

    def forward(self, images: Tensor) -> TrunkMaps:
        if self.renormalised:
            images = images * self.scale + self.shift
        part, final = self.network.forward_intermediates(
            images, indices=2, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return TrunkMaps(part, final)

    @property
    def last_stage(self) -> nn.Module | None:
        return getattr(self.network, STAGES[-1], None)


class OwnTrunk(nn.Module):
    """A module of somebody's own, whatever it gives, as two maps."""

    def __init__(self, network: object, name: str) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise ReidError(
                f"{name} gave a {type(network).__name__}; a backbone is a torch module that gives "
                "maps, N x C x h x w"
            )
        self.network, self.name = network, name

    def forward(self, images: Tensor) -> TrunkMaps:
        output = self.network(images)
        maps = output if isinstance(output, tuple | list) else (output, output)
        if len(maps) != 2:
            raise ReidError(f"{self.name} gives {len(maps)} maps; give one, or part and final")
        part, final = (self._as_map(one, images) for one in maps)
        return TrunkMaps(part, final)

    def _as_map(self, output: object, images: Tensor) -> Tensor:
        if isinstance(output, Tensor) and output.dim() == 4:
            return output
        if isinstance(output, Tensor) and output.dim() == 3:
            found = tokens_as_map(output, images.shape[2], images.shape[3])
            if found is not None:
                return found
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ReidError(
            f"{self.name} gives {what} for images of {tuple(images.shape)}; a backbone gives maps, "
            "N x C x h x w, or tokens, N x L x C"
        )

    @property
    def last_stage(self) -> nn.Module | None:
        return getattr(self.network, STAGES[-1], None)


def tokens_as_map(tokens: Tensor, height: int, width: int) -> Tensor | None:
    """Tokens of an image of height x width, N x L x C, as a map N x C x h x w of its shape: with a
    class token before them, which is dropped, or without. None where they make no such map.
    """
    for extra in (0, 1):
        count = tokens.shape[1] - extra
        rows = round((count * height / width) ** 0.5)
        if rows and count % rows == 0 and rows * width == count // rows * height:
            return tokens[:, extra:].transpose(1, 2).unflatten(2, (rows, count // rows))
    return None


def keep_last_stride(trunk: nn.Module) -> None:
    """Let a ResNet's last stage keep the size of its map, in place; other trunks stay as they are.

    Its convolutions and pools of stride 2 get stride 1; no weight changes.
    """
    stage = getattr(trunk, "last_stage", None)
    for module in () if stage is None else stage.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
        elif isinstance(module, nn.AvgPool2d | nn.MaxPool2d) and module.stride in (2, (2, 2)):
            module.kernel_size = module.stride = 1
            module.padding = 0


@torch.no_grad()
def _widths(trunk: nn.Module, name: str, size: Sequence[int]) -> tuple[int, int]:
    """The channels of a trunk's two maps, by trying it."""
    parameter = next(trunk.parameters(), None)
    training = trunk.training
    try:
        images = torch.zeros(1, 3, *size, device=None if parameter is None else parameter.device)
        maps = trunk.eval()(images)
    except ReidError:
        raise
    except Exception as error:  # whatever a stranger's forward pass throws
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ReidError(
            f"{name} takes no images of {size[0]} x {size[1]} ({reason}); give a size that it "
            "takes with --height and --width"
        ) from error
    finally:
        trunk.train(training)
    return maps.part.shape[1], maps.final.shape[1]


def is_backbone_name(name: str) -> bool:
    """Whether a text could name a backbone; whether it does shows when it is built."""
    return name in (MSINET, *SHORT) or is_library_name(name) or functions.is_function_name(name)
