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
from msinet_core.files import there_is

METADATA = "msinet"
SIZE, COLOURS = ("height", "width"), ("mean", "std")
LARGEST_SIDE = 1 << 14  # pixels; more is no size of a picture that a network takes
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
EXTRA = "pip install 'msinet-core[export]'"


class OnnxModel:
    """An ONNX file, ours or anyone's, run by onnxruntime on the CPU.

    about: what the file says of itself. `export_onnx` writes `genotype`, `height`, `width`, `mean`,
    `std`, `interpolation`, `after_necks` and `feature_length`; of another file the shape of its
    input and entries of its metadata under these names count. content_hash: 32 hexadecimal digits
    of the file.
    """

    def __init__(self, path: str | Path, threads: int = 0) -> None:
        """`threads` 0 leaves the number to onnxruntime. `ReidError` if the file is no network that
        takes images.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise ReidError(f"running an exported network needs onnxruntime: {EXTRA}") from error
        self.path = Path(path)
        if not there_is(self.path):
            raise ReidError(f"there is no file {str(path)!r}; write one with `msinet export`")
        self.content_hash = _hash(self.path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own errors share no base class
            raise ReidError(
                f"{str(path)!r} is not an ONNX file that onnxruntime can run: {error}"
            ) from error
        self._input = self._input_of_images()
        self.about: dict[str, Any] = self._about()

    def _input_of_images(self) -> Any:
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
            takes = "; ".join(f"{one.name} {one.shape}" for one in inputs)
            raise ReidError(
                f"{str(self.path)!r} takes {takes}; a network of images takes one input, "
                "B x 3 x height x width"
            )
        return inputs[0]

    def _about(self) -> dict[str, Any]:
        said = self._session.get_modelmeta().custom_metadata_map
        shape = zip(SIZE, self._input.shape[2:], strict=True)
        fixed = {name: side for name, side in shape if isinstance(side, int)}
        try:
            if METADATA in said:
                about = dict(json.loads(said[METADATA]))
                needed = {*SIZE, *COLOURS, "after_necks"}
            else:  # each by itself; a list with or without brackets
                names = [name for name in (*SIZE, *COLOURS) if name in said]
                lists = {name: json.loads(f"[{said[name].strip('[]() ')}]") for name in names}
                about = fixed | {k: v[0] if k in SIZE else v for k, v in lists.items()}
                if said.get("interpolation") in INTERPOLATIONS:
                    about["interpolation"] = said["interpolation"]
                needed = set()
            fits = needed <= set(about) and _sound(about)
        except (KeyError, TypeError, ValueError, IndexError, RecursionError, OverflowError):
            fits = False
        if not fits:
            raise ReidError(
                f"{str(self.path)!r} does not say rightly how its pictures are prepared; export it "
                "again"
            )
        return about

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width of the input, pixels; None where the file does not say them."""
        return self.about.get("height"), self.about.get("width")

    def run(self, images: Any) -> Any:
        """Features B x D of normalised images B x 3 x H x W, float32; any B from 1. A dictionary
        of arrays where the network has several outputs.
        """
        images = np.asarray(images, np.float32)
        wanted = [side or found for side, found in zip(self.size, images.shape[2:], strict=False)]
        if images.ndim != 4 or images.shape[1:] != (3, *wanted):
            height, width = self.size
            raise ReidError(
                f"{str(self.path)!r} takes images of B x 3 x {height} x {width}, not {images.shape}"
            )
        if self._input.type == "tensor(float16)":
            images = images.astype(np.float16)
        names = [output.name for output in self._session.get_outputs()]
        batch = self._input.shape[0]
        size = batch if isinstance(batch, int) else len(images)  # often exported for one image
        parts = [self._run(images[a : a + size], size) for a in range(0, len(images), size)]
        found = dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
        return found if len(names) > 1 else found[names[0]]

    def _run(self, images: np.ndarray, size: int) -> list[np.ndarray]:
        """Of at most `size` images, filled up to that number."""
        count = len(images)
        if count < size:
            images = np.concatenate([images, np.repeat(images[-1:], size - count, axis=0)])
        try:
            outputs = self._session.run(None, {self._input.name: images})
        except Exception as error:  # onnxruntime has many; each is of what the file asks for
            reason = " ".join(str(error).split())[:200]
            raise ReidError(
                f"{str(self.path)!r} cannot be run with images of {images.shape} ({reason}); say "
                "what it takes with --height and --width, or export it again"
            ) from error
        return [part[:count] for part in outputs]

    def embed(self, pixels: Any) -> np.ndarray:
        """Features B x D of pixels B x 3 x H x W, uint8 RGB, by the file's own mean and std."""
        mean, std = (np.asarray(self.about[name], np.float32).reshape(3, 1, 1) for name in COLOURS)
        return self.run((np.asarray(pixels, np.float32) / 255 - mean) / std)

    def __repr__(self) -> str:
        height, width = self.size
        kind = self.about.get("genotype", "foreign")
        return f"OnnxModel({str(self.path)!r}, {height} x {width}, {kind})"


def _hash(path: Path) -> str:
    """Of the file and of the weights that large networks keep beside it."""
    total = hashlib.blake2b(digest_size=16)
    for part in (path, path.with_name(f"{path.name}.data")):
        if part.is_file():
            with open(part, "rb") as file:
                while block := file.read(1 << 20):
                    total.update(block)
    return total.hexdigest()


def _sound(about: dict[str, Any]) -> bool:
    """Whether sizes and colours, where they are said, can be ones; makes numbers of them."""
    for name in set(SIZE) & set(about):
        about[name] = operator.index(about[name])
    for name in set(COLOURS) & set(about):
        about[name] = [float(value) for value in about[name]]
    colours = [about[name] for name in COLOURS if name in about]
    return (
        all(0 < about[name] <= LARGEST_SIDE for name in SIZE if name in about)
        and all(len(colour) == 3 and all(map(math.isfinite, colour)) for colour in colours)
        and min(about.get("std", [1.0])) > 0
        and isinstance(about.get("after_necks", False), bool)
        and about.get("interpolation", "bilinear") in INTERPOLATIONS
    )
