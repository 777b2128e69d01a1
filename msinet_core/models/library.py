"""Networks of timm and torchvision by name, with their libraries' weights or none.

timm:resnet50              random weights
timm:resnet50.a1_in1k      the weights of that tag, as the library keeps or downloads them
torchvision:resnet50.IMAGENET1K_V2
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from msinet_core.errors import ReidError

_NAME = re.compile(r"(timm|torchvision):([A-Za-z]\w*)(?:\.(\w+))?")


@dataclass(frozen=True)
class Preparation:
    """How a library wants the pictures of a network's weights: size, mean and deviation of
    (pixel / 255 - mean) / std, and the resampling filter.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


def is_library_name(text: str) -> bool:
    """Whether a text names a network of a library.

    >>> [is_library_name(text) for text in ("timm:vit_tiny_patch16_224", "my.nets:tall", "runs/a")]
    [True, False, False]
    """
    return text.startswith(("timm:", "torchvision:"))


def library_network(
    name: str, pretrained: bool | None = None, size: Sequence[int] | None = None
) -> tuple[nn.Module, Preparation | None]:
    """The whole network of a name, as its library makes it (timm's without classifier), and how its
    weights want pictures prepared, None where it has none.

    pretrained: with weights; None: if the name says which. size: of the input, height and width,
        for networks that must know it. `ReidError` for an unknown name and for weights that
        cannot be had.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ReidError(
            f"{name!r} names no network; write timm:NAME or torchvision:NAME, with .TAG behind "
            "for the library's weights of that tag"
        )
    library, architecture, tag = match.groups()
    wanted = tag is not None if pretrained is None else pretrained
    make = _timm_network if library == "timm" else _torchvision_network
    return make(architecture, tag, wanted, size)


def wants_weights(name: str, pretrained: bool) -> bool:
    """Whether a library's network is to have the library's weights: if asked, or by its tag."""
    match = _NAME.fullmatch(name)
    return pretrained or (match is not None and match[3] is not None)


def timm_data_config(network: nn.Module) -> dict[str, Any]:
    """What timm says of a network's pictures: input_size, mean, std, interpolation."""
    return _timm().data.resolve_model_data_config(network)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ReidError("networks of timm need timm: pip install 'msinet-core[models]'") from error
    return timm


def _timm_network(
    architecture: str, tag: str | None, wanted: bool, size: Sequence[int] | None
) -> tuple[nn.Module, Preparation | None]:
    timm = _timm()
    if not timm.is_model(architecture):
        raise _unknown("timm", architecture, timm.list_models())
    full = architecture if tag is None else f"{architecture}.{tag}"
    if tag is not None and not timm.models.is_model_pretrained(full):
        tags = timm.list_pretrained(f"{architecture}.*")
        raise _unknown("timm", full, tags)
    network: nn.Module | None = None
    try:
        for options in _sizes(size):
            try:
                network = timm.create_model(full, pretrained=wanted, num_classes=0, **options)
                break
            except TypeError:  # an option that this kind of network does not have
                if not options:
                    raise
    except Exception as error:  # whatever a download, or a network's own check, throws
        raise _unmade(f"timm:{full}", wanted, error) from error
    assert network is not None
    if not wanted:
        return network, None
    config = timm_data_config(network)
    height, width = config["input_size"][1:]
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return network, Preparation(height, width, mean, std, config["interpolation"])


def _sizes(size: Sequence[int] | None) -> list[dict[str, Any]]:
    """Options that tell a network of the size of its input, from the most to the least."""
    if size is None:
        return [{"dynamic_img_size": True}, {}]
    known = {"img_size": tuple(size)}
    return [{**known, "dynamic_img_size": True}, known, {}]


def _torchvision_network(
    architecture: str, tag: str | None, wanted: bool, size: Sequence[int] | None
) -> tuple[nn.Module, Preparation | None]:
    from torchvision import models  # slow to import

    known = models.list_models(module=models)
    if architecture not in known:
        raise _unknown("torchvision", architecture, known)
    kinds = models.get_model_weights(architecture)
    if tag is not None and tag not in kinds.__members__:
        raise _unknown("torchvision", f"{architecture}.{tag}", [*kinds.__members__])
    weights = kinds[tag or "DEFAULT"] if wanted else None
    try:
        network = models.get_model(architecture, weights=weights, progress=False)
    except Exception as error:  # whatever a download throws
        raise _unmade(f"torchvision:{architecture}", wanted, error) from error
    if weights is None:
        return network, None
    prepared = weights.transforms()
    (side,) = prepared.crop_size
    mean, std = tuple(prepared.mean), tuple(prepared.std)
    return network, Preparation(side, side, mean, std, prepared.interpolation.value)


def _unknown(library: str, name: str, known: Sequence[str]) -> ReidError:
    near = difflib.get_close_matches(name, known, 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; ask {library} for its list"
    return ReidError(f"{library} has no network {name!r}{hint}")


def _unmade(name: str, wanted: bool, error: Exception) -> ReidError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if wanted:
        return ReidError(
            f"the library's weights for {name} could not be had ({reason}); where there is no "
            "network, fetch the file elsewhere and give it as weights (--weights FILE)"
        )
    return ReidError(f"{name} cannot be made: {reason}")


def without_classifier(network: nn.Module) -> nn.Module:
    """A network of torchvision that gives what its classifier would see, N x D, changed in place.

    `ReidError` where it has no linear classifier.
    """
    for name in ("fc", "heads", "head", "classifier"):
        head = getattr(network, name, None)
        if isinstance(head, nn.Linear):
            setattr(network, name, nn.Identity())
            return network
        if isinstance(head, nn.Sequential) and isinstance(head[-1], nn.Linear):
            head[-1] = nn.Identity()
            return network
    raise ReidError(
        f"{type(network).__name__} has no linear classifier to take off; give a function of your "
        "own that makes it, package.module:function"
    )
