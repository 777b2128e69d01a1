"""`msinet evaluate | embed | export | describe`: what can be done with a network."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from msinet_core import functions
from msinet_core.cli.parsing import DataSet, Options, Run
from msinet_core.config import Device, TrainConfig, parse_options
from msinet_core.errors import ReidError
from msinet_core.files import safe_name


def evaluate(
    *,
    run: Run,
    on: tuple[str, ...] = (),
    options: Options = (),
    after_necks: bool = False,
    flip: bool = False,
    batch_size: int = 64,
    device: Device = "auto",
    workers: int = 0,
    save: Path | None = None,
) -> None:
    """Score a trained network on its own test set or on others.

    Args:
        on: Data sets to score on, as name=folder (several may follow); default: the run's own.
        after_necks: Features behind the necks, often better across domains.
        flip: Average the features of each image and its mirror image.
        batch_size: Images at a time.
        device: Where to compute; auto takes a GPU if there is one.
        workers: Threads that decode images.
        save: Folder to save the results in, for galleries and comparisons; one inside it for each
            data set.
    """
    from msinet_core.data import load_dataset
    from msinet_core.retrieval import evaluate_across, load_model
    from msinet_core.runs.feeding import open_dataset
    from msinet_core.runs.folder import RunFolder
    from msinet_core.runs.processes import join
    from msinet_core.speed import choose_device

    processes = join(device == "cpu")
    embedder = load_model(
        run,
        after_necks=after_necks,
        flip=flip,
        batch_size=batch_size,
        device=choose_device(device, processes.device),
        workers=workers,
        progress=True,
        processes=processes,
    )
    places = [_named_folder(text) for text in on]
    if len(places) > 1 and options:
        raise ReidError("options belong to one data set; score each by itself, with its own")
    datasets = [load_dataset(name, root, **parse_options(options)) for name, root in places]
    scored = evaluate_across(embedder, datasets or [open_dataset(RunFolder(run).config())])
    if not processes.is_main_process:
        return
    for name, result in scored.results.items():
        if save is not None:
            result.save(save / safe_name(name))
    print(scored)


def embed(
    *,
    model: Path,
    data: DataSet = "manifest",
    root: Path,
    to: Path,
    options: Options = (),
    after_necks: bool = False,
    flip: bool = False,
    batch_size: int = 64,
    device: Device = "auto",
    workers: int = 0,
) -> None:
    """Features of all images of a data set, in a store on disk that is reused while nothing
    changed.

    Args:
        model: A training run's folder, or a network exported as .onnx (needs the extra `export`).
        root: Its folder.
        to: Folder of the store.
        after_necks: Features behind the necks (an exported network has its own choice built in).
        flip: Average the features of each image and its mirror image.
        batch_size: Images at a time.
        device: Where to compute; auto takes a GPU if there is one.
        workers: Threads that decode images.
    """
    from msinet_core.data import load_dataset
    from msinet_core.retrieval import OnnxModel, embed_dataset, load_model
    from msinet_core.runs.processes import join
    from msinet_core.speed import choose_device

    dataset, processes = load_dataset(data, root, **parse_options(options)), join(device == "cpu")
    embedder = load_model(
        model,
        flip=flip,
        batch_size=batch_size,
        workers=workers,
        progress=True,
        processes=processes,
    )
    if after_necks:
        embedder = replace(embedder, after_necks=True)
    if not isinstance(embedder.model, OnnxModel):
        embedder = replace(embedder, device=choose_device(device, processes.device))
    store = embed_dataset(embedder, dataset, to)
    if processes.is_main_process:
        print(store)


def export(*, run: Run, to: Path, after_necks: bool = False) -> None:
    """Write a trained network as one ONNX file that needs no torch to run (extra `export`).

    Args:
        to: The file, ending in .onnx; or .pth for the authors' form of checkpoint.
        after_necks: Features behind the necks.
    """
    from msinet_core.retrieval import export_onnx, export_weights, load_model

    embedder = load_model(run, after_necks=after_necks)
    if to.suffix == ".onnx":
        print(export_onnx(embedder, to))
    elif to.suffix in (".pth", ".pt", ".safetensors"):
        print(export_weights(embedder, to))
    else:
        raise ReidError(f"exports end in .onnx, or in .pth for the authors' form; got {str(to)!r}")


def _named_folder(text: str) -> tuple[str, str]:
    name, sign, root = text.partition("=")
    if not sign:
        raise ReidError(
            f"data sets are given as name=folder, such as market1501=data/market; got {text!r}"
        )
    return name, os.path.expanduser(root)


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
