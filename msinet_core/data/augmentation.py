"""Augmentation of whole batches on their device, with a draw for each sample.

`draw` makes every random choice on the CPU from one generator, so that the same seed gives the same
batch on any device; `apply` carries the choices out. The order is: flip, pad and crop, colour cast,
colour jitter, normalisation, erasing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from msinet_core.errors import ReidError

BRIGHTNESS, CONTRAST, SATURATION = range(3)  # turns of the colour jitter
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601, as PIL and torchvision take it

Range = tuple[float, float]


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images. Probabilities are per sample.

    flip: probability of a horizontal flip. pad: black pixels added on every side before a crop back
    to the old size at a random place; 0 turns it off. erase: probability of filling a rectangle,
    after normalisation, with `erase_fill` (red, green, blue); its area is uniform in `erase_area`
    (shares of the image), its height / width log-uniform in `erase_aspect`; the first of
    `erase_attempts` draws that fits is taken. brightness, contrast, saturation: each x scales by a
    factor uniform in 1 - x .. 1 + x, in an order drawn for each sample (torchvision's ColorJitter).
    cast: x scales each channel by a factor of its own, uniform in 1 - x .. 1 + x, before that.
    grey: probability of a saturation of 0 instead.
    """

    flip: float = 0.5
    pad: int = 10
    erase: float = 0.5
    erase_area: Range = (0.02, 0.4)
    erase_aspect: Range = (0.3, 1 / 0.3)
    erase_fill: tuple[float, float, float] = (0.4914, 0.4822, 0.4465)
    erase_attempts: int = 10
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    cast: float = 0.0
    grey: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "erase", "brightness", "contrast", "saturation", "cast", "grey"):
            if not 0 <= getattr(self, name) <= 1:
                raise ReidError(f"augmentation: {name} is {getattr(self, name)}; it lies in 0 to 1")
        if self.pad < 0 or self.erase_attempts < 1:
            raise ReidError(
                f"augmentation: pad is {self.pad} (at least 0), "
                f"erase_attempts {self.erase_attempts} (at least 1)"
            )
        for name, most in (("erase_area", 1.0), ("erase_aspect", math.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= most:
                raise ReidError(
                    f"augmentation: {name} is {(low, high)}; it is a range of positive numbers"
                )

    @classmethod
    def within_domain(cls) -> Augmentation:
        """For training and testing on the same data set: with erasing."""
        return cls()

    @classmethod
    def across_domains(cls) -> Augmentation:
        """For testing on another data set: colour jitter in place of erasing."""
        return cls(erase=0.0, brightness=0.4, contrast=0.4, saturation=0.3)

    @classmethod
    def none(cls) -> Augmentation:
        """Normalisation only."""
        return cls(flip=0.0, pad=0, erase=0.0)

    @property
    def jitters(self) -> bool:
        return max(self.brightness, self.contrast, self.saturation, self.cast, self.grey) > 0


@dataclass(frozen=True)
class Draws:
    """The random choices for N images; all tensors have N rows and lie on the CPU.

    flip: bool. top, left: place of the crop in the padded image, 0 .. 2 * pad. erase: int64, N x 4,
    rows top, left, height, width of the rectangle (height 0: nothing is erased). jitter: float,
    N x 3, factors of brightness, contrast and saturation; order: int64, N x 3, which comes first.
    cast: float, N x 3, factors of red, green and blue.
    """

    flip: Tensor
    top: Tensor
    left: Tensor
    erase: Tensor
    jitter: Tensor
    order: Tensor
    cast: Tensor


def step_generator(*key: int) -> torch.Generator:
    """A CPU generator for (seed, epoch, step, ...): every step has its own, whoever runs it."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state & np.uint64(2**63 - 1)))


def augment(batch: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """uint8 N x 3 x H x W -> augmented and normalised float32 N x 3 x H x W, on the batch's device.

    generator: on the CPU (see `step_generator`).
    """
    n, _, height, width = batch.shape
    return apply(batch, settings, draw(n, height, width, settings, generator))


def normalise(batch: Tensor) -> Tensor:
    """uint8 N x 3 x H x W -> float32 (x / 255 - mean) / deviation, with ImageNet's figures."""
    return _normalise(batch.float(), 255.0)


def draw(
    n: int, height: int, width: int, settings: Augmentation, generator: torch.Generator
) -> Draws:
    """The choices for n images of this size. Every kind is always drawn, so that turning one off
    leaves the others as they were.
    """
    uniform = torch.rand((n, 11), generator=generator, dtype=torch.float64)
    place = (uniform[:, 1:3] * (2 * settings.pad + 1)).long()
    extent = torch.tensor([settings.brightness, settings.contrast, settings.saturation])
    jitter = (1 + (2 * uniform[:, 5:8] - 1) * extent).float()
    erase = _rectangles(uniform[:, 3:5], height, width, settings, generator)
    colours = torch.rand((n, 4), generator=generator, dtype=torch.float64)
    jitter[colours[:, 3] < settings.grey, SATURATION] = 0
    return Draws(
        flip=uniform[:, 0] < settings.flip,
        top=place[:, 0],
        left=place[:, 1],
        erase=erase,
        jitter=jitter,
        order=uniform[:, 8:11].argsort(1),
        cast=(1 + (2 * colours[:, :3] - 1) * settings.cast).float(),
    )


def apply(batch: Tensor, settings: Augmentation, draws: Draws) -> Tensor:
    """Carry out `draws` on uint8 N x 3 x H x W; float32, normalised, of the same shape.

    A processor takes one sample after the other in compiled loops; other devices take the batch at
    once. Both give the same, but for the last bits of jittered colours.
    """
    way = _one_by_one if batch.device.type == "cpu" else _at_once
    return way(batch, settings, draws)


def _one_by_one(batch: Tensor, settings: Augmentation, draws: Draws) -> Tensor:
    from msinet_core.data import pixels  # compiled loops, and the only use of numba here

    out = torch.empty(batch.shape)
    move = torch.stack((draws.flip.long(), draws.top - settings.pad, draws.left - settings.pad), 1)
    weights, mean, std, fill = (
        np.array(values, np.float32)
        for values in (GREY, IMAGENET_MEAN, IMAGENET_STD, settings.erase_fill)
    )
    pixels.augment_batch(
        batch.contiguous().numpy(),
        out.numpy(),
        move.numpy(),
        settings.jitters,
        draws.order.numpy(),
        draws.jitter.numpy(),
        draws.cast.numpy(),
        weights,
        mean,
        std,
        draws.erase.numpy(),
        fill,
    )
    return out


def _at_once(batch: Tensor, settings: Augmentation, draws: Draws) -> Tensor:
    images = _gather(batch, settings.pad, draws).float()
    if settings.jitters:
        images.mul_(1 / 255)
        if settings.cast:
            images.mul_(draws.cast.to(batch.device)[:, :, None, None]).clamp_(0, 1)
        _normalise(_jitter(images, _blends(draws).to(batch.device)), 1.0)
    else:
        _normalise(images, 255.0)
    colour = torch.tensor(settings.erase_fill, device=batch.device).view(3, 1, 1)
    return torch.where(_inside(draws.erase.to(batch.device), *batch.shape[2:]), colour, images)


def _rectangles(
    uniform: Tensor, height: int, width: int, settings: Augmentation, generator: torch.Generator
) -> Tensor:
    """N x 4 rectangles: all attempts are drawn at once, and the first that fits is taken."""
    n = len(uniform)
    tries = torch.rand((n, settings.erase_attempts, 2), generator=generator, dtype=torch.float64)
    low, high = settings.erase_area
    area = (low + (high - low) * tries[..., 0]) * (height * width)
    low, high = map(math.log, settings.erase_aspect)
    aspect = torch.exp(low + (high - low) * tries[..., 1])
    sides = torch.stack((torch.sqrt(area * aspect), torch.sqrt(area / aspect)), -1).round().long()
    fits = (sides[..., 0] < height) & (sides[..., 1] < width) & (sides > 0).all(-1)
    first = fits.int().argmax(1)
    sides = sides[torch.arange(n), first] * fits.any(1, keepdim=True)
    erased = torch.rand(n, generator=generator, dtype=torch.float64) < settings.erase
    sides = sides * erased[:, None]
    room = torch.tensor([height, width]) - sides + 1
    return torch.cat(((uniform * room).long(), sides), 1)


def _gather(batch: Tensor, pad: int, draws: Draws) -> Tensor:
    """Flip, pad with black, crop: every pixel is looked up, and black where the padding shows."""
    height, width = batch.shape[2:]
    top, left, flip = (
        part[:, None].to(batch.device) for part in (draws.top - pad, draws.left - pad, draws.flip)
    )
    y = torch.arange(height, device=batch.device) + top  # N x H: the row that each row shows
    x = torch.arange(width, device=batch.device) + left
    shows = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    x = torch.where(flip, width - 1 - x, x).clamp(0, width - 1)
    place = (y.clamp(0, height - 1)[:, :, None] * width + x[:, None]).flatten(1)  # N x HW
    found = batch.flatten(2).gather(2, place[:, None].expand(-1, 3, -1)).view_as(batch)
    return found * shows[:, None]


def _blends(draws: Draws) -> Tensor:
    """3 x N x 3: weights of the image, of its mean grey and of its grey version, for each sample
    and each of the three turns.

    Brightness, contrast and saturation all blend the image with another: black, its mean grey, its
    grey version. So each turn is one blend for the whole batch, in which the weights say which it
    is.
    """
    factor = draws.jitter.gather(1, draws.order)
    rest = 1 - factor
    return torch.stack(
        (factor, rest * (draws.order == CONTRAST), rest * (draws.order == SATURATION))
    )


def _jitter(images: Tensor, blends: Tensor) -> Tensor:
    """In place: brightness, contrast, saturation of images in 0..1, in each sample's own order."""
    weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
    for turn in range(3):
        itself, mean_grey, grey_version = blends[:, :, turn, None, None, None]
        grey = (images * weights).sum(1, keepdim=True)
        other = grey * grey_version + grey.mean((2, 3), keepdim=True) * mean_grey
        images.mul_(itself).add_(other).clamp_(0, 1)
    return images


def _normalise(images: Tensor, scale: float) -> Tensor:
    """In place: (x / scale - mean) / deviation."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1)
    return images.mul_(1 / (scale * std)).sub_(mean / std)


def _inside(rectangles: Tensor, height: int, width: int) -> Tensor:
    """N x 1 x H x W, bool: which pixels lie in each sample's rectangle."""
    top, left, tall, wide = rectangles.T[:, :, None]
    y, x = (torch.arange(side, device=rectangles.device) for side in (height, width))
    rows, columns = (y >= top) & (y < top + tall), (x >= left) & (x < left + wide)
    return (rows[:, :, None] & columns[:, None])[:, None]
