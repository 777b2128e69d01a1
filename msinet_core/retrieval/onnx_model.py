"""An exported network without torch: numpy, Pillow and onnxruntime suffice to run the file.

In a process of its own:

    import json, numpy, onnxruntime
    from PIL import Image

    session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["msinet"])
    size = about["width"], about["height"]
    pictures = [Image.open(path).convert("RGB").resize(size, 2) for path in paths]  # 2: bilinear
    images = numpy.stack(pictures).astype("float32") / 255
    images = ((images - about["mean"]) / about["std"]).transpose(0, 3, 1, 2).astype("float32")
    features = session.run(None, {"images": images})[0]
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from pathlib import Path
from typing import Any

import numpy as np

from msinet_core.errors import ReidError
from msinet_core.files import read_bytes

METADATA = "msinet"
LARGEST = 1 << 31  # bytes; what one ONNX file can hold
EXTRA = "pip install 'msinet-core[export]'"


class OnnxModel:
    """A file that `export_onnx` wrote, run by onnxruntime on the CPU.

    about: what the file says of itself (`genotype`, `height`, `width`, `mean`, `std`,
    `after_necks`, `feature_length`). content_hash: 32 hexadecimal digits of the file.
    """

    def __init__(self, path: str | Path, threads: int = 0) -> None:
        """`threads` 0 leaves the number to onnxruntime. `ReidError` if the file is no exported
        network.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise ReidError(f"running an exported network needs onnxruntime: {EXTRA}") from error
        self.path = Path(path)
        if not self.path.is_file():
            raise ReidError(f"there is no file {str(path)!r}; write one with `msinet export`")
        content = read_bytes(self.path, LARGEST) or b""
        self.content_hash = hashlib.blake2b(content, digest_size=16).hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own errors share no base class
            raise ReidError(
                f"{str(path)!r} is not an ONNX file that onnxruntime can run: {error}"
            ) from error
        found = self._session.get_modelmeta().custom_metadata_map.get(METADATA)
        if found is None:
            raise ReidError(
                f"{str(path)!r} was not written by `msinet export`: it says nothing of its "
                "preprocessing"
            )
        self.about = _about(found, self.path)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input, pixels."""
        return self.about["height"], self.about["width"]

    def run(self, images: Any) -> np.ndarray:
        """Features B x D of normalised images B x 3 x H x W, float32; any B from 1."""
        images = np.asarray(images, np.float32)
        if images.ndim != 4 or images.shape[1:] != (3, *self.size):
            height, width = self.size
            raise ReidError(
                f"{str(self.path)!r} takes images of B x 3 x {height} x {width}, not {images.shape}"
            )
        return self._session.run(None, {"images": images})[0]

    def embed(self, pixels: Any) -> np.ndarray:
        """Features B x D of pixels B x 3 x H x W, uint8 RGB."""
        mean, std = (
            np.asarray(self.about[name], np.float32).reshape(3, 1, 1) for name in ("mean", "std")
        )
        return self.run((np.asarray(pixels, np.float32) / 255 - mean) / std)

    def __repr__(self) -> str:
        height, width = self.size
        return f"OnnxModel({str(self.path)!r}, {height} x {width}, {self.about['genotype']})"


def _about(text: str, path: Path) -> dict[str, Any]:
    """What a file says of itself; `ReidError` where that cannot be."""
    try:
        about = dict(json.loads(text))
        for name in ("height", "width"):
            about[name] = operator.index(about[name])
        for name in ("mean", "std"):
            about[name] = [float(value) for value in about[name]]
        fits = (
            min(about["height"], about["width"]) > 0
            and len(about["mean"]) == len(about["std"]) == 3
            and all(map(math.isfinite, about["mean"]))
            and all(math.isfinite(value) and value > 0 for value in about["std"])
            and isinstance(about["after_necks"], bool)
        )
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError):
        fits = False
    if not fits:
        raise ReidError(
            f"{str(path)!r} does not say rightly how its pictures are prepared; export it again"
        )
    return about
