"""`msinet embed | export | describe`: what can be done with a network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from msinet_core import functions
from msinet_core.cli.evaluating import open_model
from msinet_core.cli.parsing import AS_SAID, DataSet, Options, Pictures
from msinet_core.config import TrainConfig, parse_options
from msinet_core.errors import ReidError
from msinet_core.options import Device

if TYPE_CHECKING:
    from msinet_core.retrieval import Embedder


def embed(
    *,
    model: str,
    data: DataSet = "manifest",
    root: Path,
    to: Path,
    options: Options = (),
    after_necks: bool = False,
    flip: bool = False,
    batch_size: int = 64,
    device: Device = "auto",
    workers: int = 0,
    pictures: Annotated[Pictures, tyro.conf.arg(name="")] = AS_SAID,
) -> None:
    """Features of all images of a data set, in a store on disk that is reused while nothing
    changed.

    Args:
        model: A training run's folder, a file of weights, .onnx (needs the extra `export`),
            timm:NAME, torchvision:NAME or package.module:function.
        root: Its folder.
        to: Folder of the store.
        after_necks: Features behind the necks (an exported network has its own choice built in).
        flip: Average the features of each image and its mirror image.
        batch_size: Images at a time.
        device: Where to compute; auto takes a GPU if there is one.
        workers: Threads that decode images.
    """
    from msinet_core.data import load_dataset
    from msinet_core.retrieval import embed_dataset

    dataset = load_dataset(data, root, **parse_options(options))
    made = {"after_necks": after_necks, "flip": flip, "batch_size": batch_size, "workers": workers}
    embedder = open_model(model, pictures, device, **made)
    store = embed_dataset(embedder, dataset, to)
    if embedder.processes.is_main_process:
        print(store)


def export(
    *,
    run: Path | None = None,
    model: str | None = None,
    to: Path,
    after_necks: bool = False,
    pictures: Annotated[Pictures, tyro.conf.arg(name="")] = AS_SAID,
) -> None:
    """Write a trained network as one ONNX file that needs no torch to run (extra `export`).

    Args:
        run: A training run's folder.
        model: Any other network instead, as in `msinet evaluate`.
        to: The file, ending in .onnx; or .pth for the authors' form of checkpoint.
        after_necks: Features behind the necks.
    """
    from msinet_core.retrieval import export_onnx, export_weights, load_model

    if (run is None) == (model is None):
        raise ReidError("what is to be exported? Give one of --run and --model")
    source = os.path.expanduser(model or str(run))
    embedder = load_model(source, after_necks=after_necks, **vars(pictures))
    if to.suffix == ".onnx":
        print(export_onnx(embedder, to))
    elif to.suffix in (".pth", ".pt", ".safetensors"):
        print(export_weights(embedder, to))
    else:
        raise ReidError(f"exports end in .onnx, or in .pth for the authors' form; got {str(to)!r}")


def _prepared(embedder: Embedder) -> str:
    mean, std = (" ".join(f"{c:g}" for c in colour) for colour in (embedder.mean, embedder.std))
    return (
        f"pictures   {embedder.height} x {embedder.width}, {embedder.interpolation}, mean {mean}, "
        f"std {std}"
    )


def describe(
    *,
    model: str | None = None,
    genotype: str = "paper",
    backbone: str = "msinet",
    last_stride: int = 1,
    height: int | None = None,
    width: int | None = None,
    supernet: bool = False,
    channels: tuple[int, int, int, int] = (64, 256, 384, 512),
) -> None:
    """Parameters and multiply-adds of a network, stage by stage.

    Args:
        model: Describe this network, and how its pictures are prepared; as in `msinet evaluate`.
        genotype: `paper`, a genotype's text, a genotype.json, or a run folder.
        backbone: Describe this one under the same heads, as in `msinet train`.
        last_stride: Of a ResNet's last stage, 1 or 2.
        height: Of the input, pixels; 256 where nothing else is known.
        width: Of the input, pixels; 128 where nothing else is known.
        supernet: Describe the supernet instead.
        channels: Of the stem and the three stages.
    """
    from torch import nn

    from msinet_core.models import Supernet
    from msinet_core.models.describe import describe as count
    from msinet_core.retrieval import load_model
    from msinet_core.runs.networks import make_network

    if model is not None:
        embedder = load_model(os.path.expanduser(model), height=height, width=width)
        if not isinstance(embedder.model, nn.Module):
            raise ReidError(f"{model!r} is a black box: it does not say what it is made of")
        print(f"network    {type(embedder.model).__name__}\n{_prepared(embedder)}\n")
        table = count(embedder.model, embedder.height, embedder.width)
        print(table.map("{:,}".format).to_string())
        return
    height, width = height or 256, width or 128
    if functions.is_function_name(backbone):
        functions.trust(backbone)
    config = TrainConfig(
        genotype=genotype,
        backbone=backbone,
        last_stride=last_stride,
        height=height,
        width=width,
        channels=channels,
    )
    chosen = config.resolved_genotype()
    network: nn.Module = make_network(config, chosen, 1, begin=False)
    if supernet:
        network = Supernet(channels)
    elif backbone == "msinet":
        print(f"genotype   {chosen}\ncanonical  {chosen.canonical()}\n")
    table = count(network, height, width)
    print(table.map("{:,}".format).to_string())
