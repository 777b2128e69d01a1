"""The authors' checkpoint files: opened without running foreign code, checked name by name, and
written.

Their files are pickles of `{'state_dict': ...}` with an `argparse.Namespace` inside; a `state_dict`
in memory and safetensors files of the same names are taken as well.
"""

from __future__ import annotations

import argparse
import codecs
import io
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from msinet_core.errors import ReidError
from msinet_core.files import replace_file
from msinet_core.models.blocks import Channels
from msinet_core.models.msinet import MSINet
from msinet_core.models.supernet import Supernet
from msinet_core.space import NUM_CELLS, OPERATIONS, Genotype, slot_label
from msinet_core.tensors import UNREADABLE, load_pickle, load_safetensors

StateDict = Mapping[str, Tensor]
NESTS = ("state_dict", "model", "network")  # where checkpoints keep it

# Ours -> theirs, tried in order on the whole name.
_CELL = {"reduce": "conv1", "first": "conv2", "second": "conv3", "expand": "conv4"}
THEIR_CELL_INDEX = (0, 1, 3, 4, 6, 7)  # 2 and 5 are the down-samplers
_THEIR_DOWN_INDEX = (2, 5)
_SLOT_PART = {"squeeze": "fc1", "excite": "fc2", "gamma": "gamma"}
_HEADS = {
    "neck.linear": "fc",
    "neck.norm": "head",
    "classifier": "classifier",
    "part_conv": "f_conv",
    "part_neck.linear": "f_fc",
    "part_neck.norm": "f_head",
    "part_classifier": "f_classifier",
    "pool": "pool",  # only of networks that are not the authors'
    "learned_map.query": "align_module.pos_pam.query_conv",
    "learned_map.key": "align_module.pos_pam.key_conv",
}
_PART_BRANCH = ("part_conv", "part_neck", "part_classifier")
_CLASSIFIERS = ("classifier", "part_classifier")
_WRAPPED = re.compile(
    r"^(module\.|_orig_mod\.)+"
)  # what DistributedDataParallel and torch.compile add


def reference_name(name: str) -> str:
    """The authors' name of one of our parameters or buffers (MSINet or supernet).

    >>> reference_name("trunk.cells.2.first_b.1.depthwise.weight")
    'cells.3.conv2b.1.conv2.weight'
    """
    stem, _, leaf = name.rpartition(".")
    if stem in _HEADS:
        return f"{_HEADS[stem]}.{leaf}"
    if match := re.fullmatch(r"trunk\.stem\.(conv|norm)\.(\w+)", name):
        return f"conv1.{_norm(match[1])}.{match[2]}"
    if match := re.fullmatch(r"trunk\.downs\.(\d)\.0\.(conv|norm)\.(\w+)", name):
        return f"cells.{_THEIR_DOWN_INDEX[int(match[1])]}.0.{_norm(match[2])}.{match[3]}"
    if match := re.fullmatch(r"trunk\.cells\.(\d)\.(.+)", name):
        return f"cells.{THEIR_CELL_INDEX[int(match[1])]}.{_cell_name(match[2])}"
    raise KeyError(name)


def _norm(part: str) -> str:
    return "bn" if part == "norm" else part


def _cell_name(rest: str) -> str:
    if match := re.fullmatch(
        r"slots\.(\d)\.(?:operations\.(\d)\.)?(squeeze|excite|gamma)(.*)", rest
    ):
        slot, column, part, leaf = int(match[1]) + 2, match[2], _SLOT_PART[match[3]], match[4]
        return f"_op{slot}.{part}{leaf}" if column is None else f"_op{slot}s.{column}.{part}{leaf}"
    if rest.startswith("shortcut."):
        return f"downsample.{rest.removeprefix('shortcut.')}".replace(".norm.", ".bn.")
    if match := re.fullmatch(r"(reduce|expand|first|second)_([ab])\.(.+)", rest):
        leaf = (
            match[3]
            .replace("pointwise", "conv1")
            .replace("depthwise", "conv2")
            .replace("norm.", "bn.")
        )
        return f"{_CELL[match[1]]}{match[2]}.{leaf}"
    raise KeyError(rest)


def read_state_dict(source: str | Path | StateDict) -> dict[str, Tensor]:
    """Names and tensors of a checkpoint file or a state dict; nothing in a pickle is ever executed.

    Raises `ReidError` for a missing file, a pickle that asks for code to be run, and a file that
    holds no state dict.
    """
    if isinstance(source, Mapping):
        content: Any = source
    else:
        content = _read_file(Path(source))
    for _ in NESTS:  # one may lie in another
        content = _inner(content)
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ReidError(
            f"{_describe(source)} holds no state dict of tensors; expected {{'state_dict': ...}}"
        )
    return {_WRAPPED.sub("", name): value for name, value in content.items()}


def _inner(content: Any) -> Any:
    """The state dict that a checkpoint keeps beside other things; what is none, as it is."""
    found = (content.get(name) for name in NESTS) if isinstance(content, Mapping) else ()
    return next((value for value in found if isinstance(value, Mapping)), content)


def _describe(source: Any) -> str:
    return f"{str(source)!r}" if isinstance(source, str | Path) else "the given mapping"


def _read_file(path: Path) -> Any:
    if not os.path.lexists(path):
        raise ReidError(f"no checkpoint at {str(path)!r}; check the path")
    if path.suffix == ".safetensors":
        try:
            return load_safetensors(path)
        except UNREADABLE as error:
            raise ReidError(f"{str(path)!r} is no whole safetensors file ({error})") from error
    # What training scripts leave beside the weights: parsed arguments and numpy scalars.
    harmless: list[Any] = [
        argparse.Namespace,
        np.dtype,
        np.dtypes.Float64DType,
        np.dtypes.Float32DType,
        np.dtypes.Int64DType,
        codecs.encode,
        (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
        (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    ]
    try:
        return load_pickle(path, harmless)
    except ReidError as error:
        raise ReidError(f"checkpoint {str(path)!r} was not opened: {error}") from error
    except UNREADABLE as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = (
            f"asks for {wanted[1]!r} to be called"
            if wanted
            else "is damaged or holds more than data"
        )
        raise ReidError(
            f"checkpoint {str(path)!r} {what}; it was not opened, because that could run foreign "
            "code. Save it again as {'state_dict': model.state_dict()}"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise ReidError(
            f"checkpoint {str(path)!r} is damaged or not a torch file: {error}"
        ) from error


def load_msinet(source: str | Path | StateDict, genotype: Genotype) -> MSINet:
    """An `MSINet` from one of the authors' checkpoints, in evaluation mode.

    Channels, number of identities and alignment are read off the tensors. `none` and `exchange`
    have no parameters, so the genotype must be given; it is checked against the names. A missing
    part branch or classifier is reported as a warning and freshly initialised (the published
    ImageNet weights have none); anything else that does not fit is a `ReidError` naming it.
    """
    state = read_state_dict(source)
    channels = _channels(state)  # of another network there are none, which is said first
    _check_genotype(state, genotype)
    classes = state.get("classifier.weight", state.get("f_classifier.weight"))
    alignment = any(name.startswith("align_module.") for name in state)
    pooling = "gem" if "pool.p" in state else "average"
    count = 1 if classes is None else len(classes)
    model = MSINet(genotype, count, channels, alignment, pooling)
    absent = _load(model, state, optional=(*_PART_BRANCH, *_CLASSIFIERS))
    if absent:
        warnings.warn(
            f"the checkpoint has no {', '.join(absent)}: initialised at random, so train before "
            "retrieval",
            stacklevel=2,
        )
    return model.eval()


def load_supernet(source: str | Path | StateDict) -> Supernet:
    """A `Supernet` from one of the authors' search checkpoints.

    The files hold no alpha, so the supernet's own stays as initialised unless the mapping has an
    `alphas` entry. Their batch norm and classifier, which no loss reaches, are kept aside in
    `reference_extras` so that `save_supernet` writes the same file again.
    """
    state = read_state_dict(source)
    channels, extras = _channels(state), {}
    for name in list(state):
        if name.startswith(("head.", "classifier.")):
            extras[name] = state.pop(name)
    alphas = state.pop("alphas", None)
    mid = len(_required(state, "cells.0.conv1a.conv.weight"))
    width = next(
        (n for n, c in (("derived", channels[1]), ("reference", channels[0])) if c // 4 == mid),
        None,
    )
    if width is None:
        raise ReidError(
            f"the checkpoint's first cell has {mid} mid channels; a supernet of {channels} cannot"
        )
    model = Supernet(channels, width)
    _load(model, state, optional=("alphas",))
    if alphas is not None:
        model.alphas.data.copy_(alphas)
    model.reference_extras = extras
    return model


def to_reference(model: MSINet | Supernet) -> dict[str, Tensor]:
    """The model's state dict under the authors' names; alpha is left out, as in their files."""
    state = {
        reference_name(n): v.detach().cpu() for n, v in model.state_dict().items() if n != "alphas"
    }
    return {**state, **getattr(model, "reference_extras", {})}


def save_msinet(model: MSINet, path: str | Path) -> Path:
    """Write `{'state_dict': ...}` under the authors' names (safetensors if `path` ends so)."""
    return _save(to_reference(model), Path(path))


def save_supernet(model: Supernet, path: str | Path) -> Path:
    """As `save_msinet`, for a supernet."""
    return _save(to_reference(model), Path(path))


def _save(state: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        content = save({name: value.contiguous() for name, value in state.items()})
    else:
        buffer = io.BytesIO()
        torch.save({"state_dict": state}, buffer)
        content = buffer.getvalue()
    replace_file(path, content)
    return path


def _required(state: StateDict, name: str) -> Tensor:
    if name not in state:
        raise ReidError(f"the checkpoint lacks {name!r}; it is not one of the reference's networks")
    return state[name]


def _channels(state: StateDict) -> Channels:
    names = ["conv1.conv.weight", *(f"cells.{i}.conv4a.conv.weight" for i in (0, 3, 6))]
    c0, c1, c2, c3 = (len(_required(state, name)) for name in names)
    return c0, c1, c2, c3


def _check_genotype(state: StateDict, genotype: Genotype) -> None:
    for slot, operation in enumerate(genotype.slots):
        cell, place = THEIR_CELL_INDEX[slot // 2], slot % 2 + 2
        prefix = f"cells.{cell}._op{place}"
        if any(name.startswith(f"{prefix}s.") for name in state):
            raise ReidError("this checkpoint is a supernet's; load it with load_supernet")
        found = "none or exchange"
        if f"{prefix}.fc1.weight" in state:
            found = "channel_gate"
        elif f"{prefix}.gamma" in state:
            found = "cross_attention"
        if operation not in found.split(" or "):
            raise ReidError(
                f"genotype and checkpoint disagree in {slot_label(slot)}: the genotype says "
                f"{operation}, the checkpoint holds {found}"
            )


def _load(model: nn.Module, state: StateDict, optional: tuple[str, ...]) -> list[str]:
    """Copy `state` into `model` by the authors' names; gives the optional parts not found."""
    absent, left = [], dict(state)
    for name, ours in model.state_dict().items():
        if name == "alphas":
            continue
        theirs = reference_name(name)
        value = left.pop(theirs, None)
        part = next((part for part in optional if name.startswith(f"{part}.")), None)
        if value is None and part:
            absent.append(part)
        elif value is None:
            raise ReidError(f"the checkpoint lacks {theirs!r} (shape {tuple(ours.shape)})")
        elif value.shape != ours.shape:
            raise ReidError(
                f"{theirs!r} has shape {tuple(value.shape)} in the checkpoint, "
                f"{tuple(ours.shape)} in the network"
            )
        else:
            with torch.no_grad():
                ours.copy_(value)
    if left:
        names = ", ".join(sorted(left)[:3]) + (
            f" and {len(left) - 3} more" if len(left) > 3 else ""
        )
        raise ReidError(f"the checkpoint holds tensors that the network has no place for: {names}")
    return list(dict.fromkeys(absent))


assert len(THEIR_CELL_INDEX) == NUM_CELLS
assert OPERATIONS[1:3] == (
    "channel_gate",
    "cross_attention",
)  # their `_op2s.K` counts these columns
