"""`msinet embed | export | describe`: what can be done with a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from msinet_core import functions
from msinet_core.cli.evaluating import open_model
from msinet_core.cli.parsing import AS_SAID, DataSet, Options, Pictures, Run
from msinet_core.config import Device, TrainConfig, parse_options
from msinet_core.errors import ReidError


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
    run: Run,
    to: Path,
    after_necks: bool = False,
    pictures: Annotated[Pictures, tyro.conf.arg(name="")] = AS_SAID,
) -> None:
    """Write a trained network as one ONNX file that needs no torch to run (extra `export`).

    Args:
        to: The file, ending in .onnx; or .pth for the authors' form of checkpoint.
        after_necks: Features behind the necks.
    """
    from msinet_core.retrieval import export_onnx, export_weights, load_model

    embedder = load_model(run, after_necks=after_necks, **vars(pictures))
    if to.suffix == ".onnx":
        print(export_onnx(embedder, to))
    elif to.suffix in (".pth", ".pt", ".safetensors"):
        print(export_weights(embedder, to))
    else:
        raise ReidError(f"exports end in .onnx, or in .pth for the authors' form; got {str(to)!r}")


def describe(
    *,
    genotype: str = "paper",
    backbone: str = "msinet",
    last_stride: int = 1,
    height: int = 256,
    width: int = 128,
    supernet: bool = False,
    channels: tuple[int, int, int, int] = (64, 256, 384, 512),
) -> None:
    """Parameters and multiply-adds of a network, stage by stage.

    Args:
        genotype: `paper`, a genotype's text, a genotype.json, or a run folder.
        backbone: Describe this one under the same heads, as in `msinet train`.
        last_stride: Of a ResNet's last stage, 1 or 2.
        height: Of the input, pixels.
        width: Of the input, pixels.
        supernet: Describe the supernet instead.
        channels: Of the stem and the three stages.
    """
    from torch import nn

    from msinet_core.models import Supernet
    from msinet_core.models.describe import describe as count
    from msinet_core.runs.networks import make_network

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
