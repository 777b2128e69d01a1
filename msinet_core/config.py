"""What a run is made of: frozen dataclasses, checked when made, JSON in and out. No torch.

The defaults are the paper's. A field's comment is its help text on the command line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from msinet_core.errors import ReidError
from msinet_core.space import Genotype

Device = Literal["auto", "cpu", "cuda"]
PAPER_EPOCHS = 350
PAPER_MILESTONES = (150, 225, 300)
PAPER_ALPHA_MILESTONES = (150, 225, 350)
PAPER_WARMUP = 10

C = TypeVar("C", bound="RunConfig")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What search and training have in common."""

    # Fields that say how a run is carried out, not what it computes: free to differ on resume.
    OPERATIONAL: ClassVar[frozenset[str]] = frozenset(
        {"root", "device", "workers", "cache", "cache_dir", "save_every", "compile"}
    )
    KIND: ClassVar[str] = ""

    data: str = "manifest"
    """Data set: manifest, market1501, msmt17, veri776, vehicleid, ... (`msinet data --help`)."""
    root: str = ""
    """Folder of the data set."""
    options: tuple[str, ...] = ()
    """Options of the data set as name=value, such as test_size=1600."""
    height: int = 256
    """Height of the network's input, pixels."""
    width: int = 128
    """Width of the network's input, pixels (256 for vehicles)."""
    channels: tuple[int, int, int, int] = (64, 256, 384, 512)
    """Channels of the stem and of the three stages."""
    epochs: int = PAPER_EPOCHS
    """Passes over the training images. Milestones and warm-up scale along unless given."""
    identities_per_batch: int = 16
    """P of the P x K identity sampler."""
    images_per_identity: int = 4
    """K of the P x K identity sampler."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one step (the losses see one batch at a time)."""
    different_cameras: bool = True
    """Draw an identity's K images from different cameras where it has them: pairs as the test asks
    for them.
    """
    min_images: int | None = None
    """Leave out training identities with fewer images; by default one-image identities are an
    error.
    """
    milestones: tuple[int, ...] | None = None
    """Epochs at which the learning rate falls to a tenth; default 150, 225, 300 of 350, scaled."""
    warmup_epochs: float | None = None
    """Epochs of linear warm-up, in ten stairs, from a hundredth of the rate; default 10 of 350,
    scaled.
    """
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay of SGD."""
    augmentation: Literal["within", "across", "none"] = "within"
    """Flip, crop and erasing (within a domain) or flip, crop and colour jitter (across domains)."""
    pad: int = 10
    """Pixels of padding before the random crop."""
    scaled_attention: bool = False
    """Divide cross attention's energies by the root of the number of positions, so that maps of any
    size give soft weights.
    """
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Arithmetic of the networks: tf32 lets a GPU round the factors of float32 products, bf16 needs
    a processor or GPU that has it.
    """
    seed: int = 0
    """Seed of everything random."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    compile: bool = False
    """Compile the network with torch.compile and, on a GPU, replay each pass as one CUDA graph;
    falls back with a warning where that cannot work.
    """
    workers: int | None = None
    """Threads that prepare batches ahead (they never change what a batch holds); default: 4 with a
    GPU, else 0.
    """
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Keep decoded images in memory or on disk, or decode them each time."""
    cache_dir: str | None = None
    """Folder of the disk cache; default ~/.cache/msinet."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at an unreadable image, or leave it out and list it."""
    save_every: int = 1
    """Epochs between checkpoints (the last epoch and a stopped run are always saved)."""

    def __post_init__(self) -> None:
        _positive(
            self,
            "height",
            "width",
            "epochs",
            "identities_per_batch",
            "images_per_identity",
            "save_every",
            "accumulate",
        )
        _not_negative(self, "momentum", "weight_decay", "pad", "seed")
        if self.warmup_epochs is not None:
            _not_negative(self, "warmup_epochs")
        if self.workers is not None:
            _not_negative(self, "workers")
        if min(self.height, self.width) < 32:
            raise ReidError(
                f"images of {self.height} x {self.width} are too small; the network needs 32 or more"
            )
        if any(width < 16 or width % 4 for width in self.channels):
            raise ReidError(f"channels are multiples of 4, at least 16 each; got {self.channels}")
        if self.images_per_identity < 2:
            raise ReidError(
                "images_per_identity must be at least 2: the losses compare images of one identity"
            )
        if list(self.milestones or ()) != sorted(set(self.milestones or ())):
            raise ReidError(f"milestones must rise; got {self.milestones}")

    @property
    def data_options(self) -> dict[str, Any]:
        """`options` as a mapping; whole numbers and true or false become such."""
        return parse_options(self.options)

    @property
    def batch_size(self) -> int:
        """Images that a process passes through the network at once."""
        return self.identities_per_batch * self.images_per_identity

    @property
    def scaled_warmup(self) -> float:
        """Epochs of warm-up: the given ones, or the paper's in proportion to `epochs`."""
        if self.warmup_epochs is not None:
            return self.warmup_epochs
        return PAPER_WARMUP * self.epochs / PAPER_EPOCHS

    @property
    def ticks_per_epoch(self) -> float:
        """How often in an epoch the learning rate may change: ten times in the warm-up, as in the
        paper.
        """
        return (
            PAPER_WARMUP / self.scaled_warmup if self.scaled_warmup else PAPER_EPOCHS / self.epochs
        )

    def milestone_ticks(
        self, given: tuple[int, ...] | None, paper: tuple[int, ...] = PAPER_MILESTONES
    ) -> tuple[int, ...]:
        """Ticks at which a rate falls: at the given epochs, or at the paper's in proportion to
        `epochs`.
        """
        scale = self.epochs / PAPER_EPOCHS
        epochs = [at * scale for at in paper] if given is None else given
        return tuple(round(at * self.ticks_per_epoch) for at in epochs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as JSON would give them back."""
        return json.loads(json.dumps({"kind": self.KIND, **asdict(self)}))

    def differences(self, other: RunConfig) -> dict[str, tuple[Any, Any]]:
        """Fields that make the two runs compute different things, with both values."""
        mine, theirs = self.to_dict(), other.to_dict()
        return {
            name: (mine.get(name), theirs.get(name))
            for name in sorted({*mine, *theirs} - self.OPERATIONAL)
            if mine.get(name) != theirs.get(name)
        }


@dataclass(frozen=True, kw_only=True)
class SearchConfig(RunConfig):
    """Architecture search with the twins contrastive mechanism."""

    KIND: ClassVar[str] = "search"

    learning_rate: float = 0.025
    """Learning rate of the weights (SGD)."""
    alpha_learning_rate: float = 0.002
    """Learning rate of alpha (Adam, betas 0.5 and 0.999)."""
    alpha_weight_decay: float = 1e-3
    """Weight decay of alpha."""
    alpha_milestones: tuple[int, ...] | None = None
    """Epochs at which alpha's learning rate falls to a tenth; default 150, 225, 350 of 350, scaled.
    """
    overlap: float = 0.4
    """Share of the identities that both twins see; 1 is the usual split."""
    stratify_by_camera: bool = False
    """Halve a shared identity's images within each camera."""
    cell_width: Literal["derived", "reference"] = "derived"
    """Supernet cells as wide as the derived network's, or as the authors' supernet's."""
    memory_momentum: float = 0.2
    """Share of a memory row that stays when it is moved."""
    temperature: float = 0.05
    """Temperature of the contrastive loss."""
    leak_validation_gradient: bool = False
    """Let validation batches train the weights too, as the authors' code does (for comparison)."""
    alpha_warmup_epochs: int = 0
    """First epochs in which only the weights move, so that no operation wins for training fastest.
    """
    alpha_every: int = 1
    """Steps of the weights for one of alpha."""
    alpha_identities_per_batch: int | None = None
    """Identities in a validation batch, where alpha is to see another number than the weights do.
    """
    alpha_temperature: float = 1.0
    """Divides alpha before the softmax: above 1 evens the operations out, below 1 sharpens the
    choice.
    """
    alpha_temperature_end: float | None = None
    """Temperature of the last epoch, reached geometrically; by default it does not change."""
    entropy_penalty: float = 0.0
    """Weight of the mean entropy of the slots' weights in alpha's loss: positive makes slots
    decide, negative keeps them open.
    """
    entropy_schedule: Literal["constant", "linear"] = "constant"
    """The penalty's weight over the epochs: constant, or rising from 0 after the warm-up to the
    last epoch.
    """
    initial_gamma: float = 0.0
    """Where cross attention's gamma starts; at 0 it begins as no interaction at all."""
    drop_milestones: tuple[int, ...] = ()
    """After these epochs every slot loses its weakest operation for good."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _not_negative(
            self,
            "learning_rate",
            "alpha_learning_rate",
            "alpha_weight_decay",
            "alpha_warmup_epochs",
        )
        _positive(self, "temperature", "alpha_every", "alpha_temperature")
        for optional in ("alpha_identities_per_batch", "alpha_temperature_end"):
            if getattr(self, optional) is not None:
                _positive(self, optional)
        if list(self.drop_milestones) != sorted(set(self.drop_milestones)):
            raise ReidError(f"drop_milestones must rise; got {self.drop_milestones}")
        for name in ("overlap", "memory_momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ReidError(f"{name} lies between 0 and 1; got {getattr(self, name)}")

    def for_validation(self) -> SearchConfig:
        """The same with the batches of the validation side, those that alpha sees."""
        return replace(
            self, identities_per_batch=self.alpha_identities_per_batch or self.identities_per_batch
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """Training of a derived network."""

    KIND: ClassVar[str] = "train"

    genotype: str = "paper"
    """`paper`, a genotype's text, a genotype.json, or a search run folder."""
    backbone: Literal["msinet", "resnet18", "resnet50"] = "msinet"
    """The network; a ResNet takes no genotype or channels and has MSINet's heads (for comparison).
    """
    learning_rate: float = 0.065
    """Learning rate (SGD)."""
    max_gradient_norm: float | None = 10.0
    """A gradient longer than this (of all weights together) is shortened to it; none leaves it, as
    the paper does.
    """
    label_smoothing: float = 0.1
    """Of the cross-entropy."""
    margin: float = 0.3
    """Of the triplet loss."""
    alignment: Literal["none", "pos", "neg", "pos_neg"] = "none"
    """Parts of the spatial alignment loss."""
    alignment_weight: float = 2.0
    """Weight of the spatial alignment loss."""
    weights: str | None = None
    """Start from these weights: a run folder of ours or one of the authors' checkpoints."""
    evaluate_every: int = 10
    """Epochs between evaluations (the last epoch is always evaluated); 0 for the last only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _not_negative(
            self, "learning_rate", "label_smoothing", "margin", "alignment_weight", "evaluate_every"
        )
        if self.max_gradient_norm is not None:
            _positive(self, "max_gradient_norm")

    def resolved_genotype(self) -> Genotype:
        """The genotype that the text, file or run folder stands for."""
        return read_genotype(self.genotype)


def parse_options(options: tuple[str, ...]) -> dict[str, Any]:
    """`("test_size=1600", "boxes=labeled")` as a mapping."""
    words: dict[str, Any] = {"true": True, "false": False}
    parsed = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not sign or not name:
            raise ReidError(f"data set options are given as name=value; got {option!r}")
        number = value.lstrip("-").isdigit()
        parsed[name] = int(value) if number else words.get(value.lower(), value)
    return parsed


def read_genotype(text: str) -> Genotype:
    """From `paper`, a genotype's text, a genotype.json, or a run folder that holds one."""
    path = Path(text)
    if path.is_dir():
        path = path / "genotype.json"
        if not path.is_file():
            raise ReidError(
                f"run folder {text!r} has no genotype yet; let its search finish an epoch"
            )
    if path.suffix == ".json" or path.is_file():
        if not path.is_file():
            raise ReidError(f"no genotype file at {text!r}")
        return Genotype.from_json(path.read_text())
    return Genotype.parse(text)


def config_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """The configuration that `to_dict` wrote; unknown or missing kinds and fields are a
    `ReidError`.
    """
    classes: dict[str, type[RunConfig]] = {c.KIND: c for c in (SearchConfig, TrainConfig)}
    kind = classes.get(str(values.get("kind")))
    if kind is None:
        raise ReidError(
            f"the configuration has kind {values.get('kind')!r}; known are {', '.join(classes)}"
        )
    known = {field.name for field in fields(kind)}
    given = {name: value for name, value in values.items() if name != "kind"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ReidError(
            f"the configuration has {', '.join(unknown)}, which this version does not know; "
            "it was written by another version of msinet-core"
        )
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    return kind(**values)  # type: ignore[arg-type]


def _positive(config: RunConfig, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise ReidError(f"{name} must be positive; got {getattr(config, name)}")


def _not_negative(config: RunConfig, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= 0:
            raise ReidError(f"{name} must not be negative; got {getattr(config, name)}")
