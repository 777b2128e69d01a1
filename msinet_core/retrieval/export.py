"""MSINet as one ONNX file that says how it wants its pictures prepared."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from msinet_core.data import IMAGENET_MEAN, IMAGENET_STD
from msinet_core.errors import ReidError
from msinet_core.models import MSINet
from msinet_core.retrieval.onnx_model import EXTRA, METADATA, OnnxModel

TOLERANCE = 1e-4  # of the largest feature


class _Embedding(nn.Module):
    def __init__(self, model: MSINet, after_necks: bool) -> None:
        super().__init__()
        self.model, self.after_necks = model, after_necks

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images, after_necks=self.after_necks)


def export_onnx(
    model: MSINet, path: str | Path, height: int, width: int, *, after_necks: bool = False
) -> OnnxModel:
    """Writes the network's embedding as ONNX: `images` B x 3 x H x W -> `features` B x D, B
    variable.

    The metadata entry `msinet` holds JSON: genotype, height, width, mean and std of the
    preprocessing ((pixel / 255 - mean) / std, RGB), after_necks, feature_length. The file is run
    and compared with the network before it is kept: `ReidError` where features differ by more than
    1e-4 of the largest. Needs the extra `export`.
    """
    if not isinstance(model, MSINet):
        raise ReidError(f"only an MSINet can be exported, not a {type(model).__name__}")
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise ReidError(f"export needs onnx and onnxscript: {EXTRA}") from error
    place = model.part_conv.weight.device
    was_training = model.training
    try:
        network = _Embedding(model, after_necks).cpu().eval()
        proto = _export(network, torch.zeros(3, 3, height, width))
        about = {
            "genotype": str(model.genotype),
            "height": height,
            "width": width,
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "after_necks": after_necks,
            "feature_length": model.feature_length,
        }
        onnx.helper.set_model_props(proto, {METADATA: json.dumps(about)})
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.writing")
        try:
            onnx.save(proto, str(beside))
            _compare(OnnxModel(beside), network)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    finally:
        model.train(was_training).to(place)
    return OnnxModel(path)


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
    return proto


def _compare(exported: OnnxModel, network: nn.Module) -> None:
    for count in (1, 2):
        images = torch.randn(
            count, 3, *exported.size, generator=torch.Generator().manual_seed(count)
        )
        with torch.inference_mode():
            expected = network(images).numpy()
        difference = np.abs(exported.run(images.numpy()) - expected).max()
        if not difference <= TOLERANCE * np.abs(expected).max():
            raise ReidError(
                f"the exported file's features differ from the network's by {difference:.2g}; it was not kept"
            )
