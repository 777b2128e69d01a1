"""A network as one ONNX file that says how it wants its pictures prepared."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from msinet_core.errors import ReidError
from msinet_core.files import replace_file
from msinet_core.models import MSINet, ReidNetwork, reference
from msinet_core.retrieval.embedder import Embedder, device_of, named_output
from msinet_core.retrieval.onnx_model import EXTRA, METADATA, OnnxModel

TOLERANCE = 1e-4  # of the largest feature


class _Embedding(nn.Module):
    def __init__(self, model: nn.Module, after_necks: bool, output: str | None) -> None:
        super().__init__()
        self.model, self.after_necks, self.output = model, after_necks, output

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(self.model, ReidNetwork):
            return self.model.embed(images, after_necks=self.after_necks)
        given = self.model(images)
        return given if self.output is None else named_output(given, self.output)


def export_onnx(embedder: Embedder, path: str | Path) -> OnnxModel:
    """Writes the network of an embedder as ONNX: `images` B x 3 x H x W -> `features` B x D, B
    variable.

    The metadata entry `msinet` holds JSON: genotype, height, width, interpolation, mean and std of
    the preprocessing ((pixel / 255 - mean) / std, RGB), after_necks, feature_length. The file is
    run and compared with the network before it takes the place of an old one: `ReidError` where
    features differ by more than 1e-4 of the largest. Needs the extra `export`.
    """
    model = _network(embedder)
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise ReidError(f"export needs onnx and onnxscript: {EXTRA}") from error
    place, was_training = device_of(model), model.training
    try:
        network = _Embedding(model, embedder.after_necks, embedder.output).cpu().eval()
        example = torch.zeros(3, 3, embedder.height, embedder.width)
        proto = _export(network, example)
        about = {
            "genotype": str(getattr(model, "genotype", "")),
            "height": embedder.height,
            "width": embedder.width,
            "mean": list(embedder.mean),
            "std": list(embedder.std),
            "interpolation": embedder.interpolation,
            "after_necks": embedder.after_necks,
            "feature_length": network(example[:1]).shape[1],
        }
        onnx.helper.set_model_props(proto, {METADATA: json.dumps(about)})
        with tempfile.TemporaryDirectory() as scratch:
            onnx.save(proto, str(Path(scratch, "network.onnx")))
            size = embedder.height, embedder.width
            _compare(OnnxModel(Path(scratch, "network.onnx")), network, size)
            replace_file(Path(path), Path(scratch, "network.onnx").read_bytes())
    finally:
        model.train(was_training).to(place)
    return OnnxModel(path)


def export_weights(embedder: Embedder, path: str | Path) -> Path:
    """Writes the network's weights under the authors' names: .pth, or .safetensors."""
    if not isinstance(embedder.model, MSINet):
        raise ReidError(
            f"the authors have no names for weights of a {type(embedder.model).__name__}; export "
            "it as .onnx, or take the weights.safetensors in its run folder"
        )
    return reference.save_msinet(embedder.model, path)


def _network(embedder: Embedder) -> nn.Module:
    if isinstance(embedder.model, OnnxModel):
        raise ReidError("this network is an exported file already; copy the file")
    if not isinstance(embedder.model, nn.Module):
        raise ReidError("only a module can be exported, and this is a function")
    if embedder.after_necks and not isinstance(embedder.model, ReidNetwork):
        raise ReidError(f"{type(embedder.model).__name__} has no necks; leave after_necks off")
    return embedder.model


def _without_origins(parts: Iterable[Any]) -> None:
    """Takes away what the exporter tells of itself, paths of source files among it."""
    for part in parts:
        for name in ("doc_string", "metadata_props"):
            part.ClearField(name)


def _export(network: nn.Module, example: Tensor):  # type: ignore[no-untyped-def]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        )
    assert program is not None
    proto = program.model_proto
    batch = proto.graph.input[0].type.tensor_type.shape.dim[0]
    if not batch.dim_param:
        raise ReidError(
            "torch's exporter fixed the batch size; please report this with your torch version"
        )
    graphs = [proto.graph, *proto.functions]
    _without_origins([proto, *graphs, *(node for graph in graphs for node in graph.node)])
    values = proto.graph.input, proto.graph.output, proto.graph.value_info, proto.graph.initializer
    _without_origins(part for group in values for part in group)
    return proto


def _compare(exported: OnnxModel, network: nn.Module, size: tuple[int, int]) -> None:
    for count in (1, 2):
        images = torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            expected = network(images).numpy()
        difference = np.abs(exported.run(images.numpy()) - expected).max()
        if not difference <= TOLERANCE * np.abs(expected).max():
            raise ReidError(
                f"the exported file's features differ from the network's by {difference:.2g}; it "
                "was not kept"
            )
