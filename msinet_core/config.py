"""What a run is made of: frozen dataclasses, checked when made, JSON in and out. No torch.

Fields lie in sections, which `--help` shows as groups; for users they stay flat:
`SearchConfig(data="market1501", root="data/market", height=256)`. A field's text is its help on the
command line, and says where its default is not the authors' and why. Two differences are no field:
an epoch's batches (`data.sampler`: nearly every image once; theirs stops at the first identity
that runs out) and VehicleID's test list and draws (`data.lists`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_type_hints

from msinet_core.errors import ReidError
from msinet_core.fields import plain
from msinet_core.files import read_bytes, read_json
from msinet_core.functions import is_function_name
from msinet_core.space import OPERATIONS, Genotype, UnknownOperation

Device = Literal["auto", "cpu", "cuda", "mps", "xpu"]
DATA_SETS = (
    *("market1501", "msmt17", "veri776", "vehicleid", "cuhk03"),
    *("folders", "classes", "manifest", "table"),
)
BACKBONES = ("msinet", "resnet18", "resnet50")  # besides those of libraries and of one's own
LARGEST_GENOTYPE = 1 << 20  # bytes of a file that is read as one
PAPER_EPOCHS = 350
PAPER_MILESTONES = (150, 225, 300)
PAPER_ALPHA_MILESTONES = (150, 225, 350)
PAPER_WARMUP = 10
PAPER_PAD, PAPER_WIDTH = 10, 128  # pixels


# -- what search and training have in common -----------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DataFields:
    """Which images, and how they are kept."""

    data: str | tuple[str, ...] = "manifest"
    """Kind: market1501, msmt17, veri776, vehicleid, cuhk03, folders, classes, manifest, table."""
    root: str | tuple[str, ...] = ""
    """Folder of the data set; several, each with its --data, are trained on together."""
    options: tuple[str, ...] = ()
    """Options of the data set as name=value, such as test_size=1600."""
    min_images: int | None = None
    """Leave out training identities with fewer images; by default one-image identities are an
    error.
    """
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at an unreadable image, or leave it out and list it."""
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Keep decoded images in memory or on disk, or decode them each time."""
    cache_dir: str | None = None
    """Folder of the disk cache; default ~/.cache/msinet."""


@dataclass(frozen=True, kw_only=True)
class BatchFields:
    """P identities x K images, and what is done to an image."""

    height: int = 256
    """Height of the network's input, pixels."""
    width: int = 128
    """Width of the network's input, pixels (256 for vehicles)."""
    identities_per_batch: int = 16
    """P of the P x K identity sampler."""
    images_per_identity: int = 4
    """K of the P x K identity sampler."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one step (the losses see one batch at a time)."""
    different_cameras: bool = True
    """Draw an identity's K images from different cameras where it has them: pairs as the test asks
    for them (the authors draw whatever the camera).
    """
    augmentation: Literal["auto", "within", "across", "both", "none"] = "auto"
    """Flip, crop and erasing (within a domain); flip, crop and colour jitter (across domains); both
    erasing and jitter; or none. auto is across where --target names other data sets, else within.
    """
    pad: int | None = 10
    """Pixels of padding before the random crop; none for the paper's 10, and for the same share of
    the shorter side where that is below the paper's 128: 5 at 64 x 64.
    """
    colour_cast: float = 0.0
    """Scale each colour channel of an image by a factor uniform in 1 - this to 1 + this, such as
    0.3, as cameras of different white balance do.
    """
    grey: float = 0.0
    """Probability of an image's grey version, such as 0.1."""
    mixing: Literal["proportional", "balanced"] = "proportional"
    """Identities of several data sets in a batch: by lot from all of them, or equally many of each.
    """


@dataclass(frozen=True, kw_only=True)
class NetworkFields:
    """The network's size."""

    channels: tuple[int, int, int, int] = (64, 256, 384, 512)
    """Channels of the stem and of the three stages."""
    scaled_attention: bool = False
    """Divide cross attention's energies by the root of the number of positions, so that maps of any
    size give soft weights.
    """


@dataclass(frozen=True, kw_only=True)
class OptimizerFields:
    """How the weights move, and how fast over time."""

    epochs: int = PAPER_EPOCHS
    """Passes over the training images. Milestones and warm-up scale along unless given."""
    learning_rate: float = 0.065
    """Learning rate of the weights."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD, or AdamW, for which a rate has to be given (such as 0.00035)."""
    schedule: Literal["steps", "cosine"] = "steps"
    """The rate of the weights after warm-up: a tenth at each milestone, or half a cosine to 0."""
    milestones: tuple[int, ...] | None = None
    """Epochs at which the learning rate falls to a tenth; default 150, 225, 300 of 350, scaled."""
    warmup_epochs: float | None = None
    """Epochs of linear warm-up from a hundredth of the rate (in ten stairs where the schedule is
    steps); default 10 of 350, scaled; with a cosine 3 of 30.
    """
    momentum: float = 0.9
    """Momentum of SGD; AdamW's first beta."""
    weight_decay: float = 5e-4
    """Weight decay of the weights."""


@dataclass(frozen=True, kw_only=True)
class SystemFields:
    """How it is carried out."""

    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """Arithmetic of the networks: tf32 lets a GPU round the factors of float32 products, bf16 needs
    a processor or GPU that has it. Auto is bf16 on a CUDA GPU that has it, else fp32 (which is the
    authors' everywhere).
    """
    seed: int = 0
    """Seed of everything random."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one: NVIDIA's or AMD's (cuda), Apple's (mps),
    Intel's (xpu).
    """
    speed: Literal["auto", "eager"] = "auto"
    """Auto replays each step as CUDA graphs where those exist; eager starts kernel by kernel and
    reads every loss at once.
    """
    compile: bool = False
    """Compile the network's cells with torch.compile on top; falls back with a warning where that
    cannot work.
    """
    deterministic: bool = False
    """Only algorithms that give the same bits each time on the same device (slower on a GPU)."""
    workers: int | None = None
    """Threads that prepare batches ahead (they never change what a batch holds); default: 4 with a
    GPU, else 0.
    """
    save_every: int = 1
    """Epochs between checkpoints (the last epoch and a stopped run are always saved)."""
    track: Literal["tensorboard", "wandb", "mlflow", "trackio"] | None = None
    """Send losses and scores to this experiment tracker too, which has to be installed."""


# -- what belongs to one of them -----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TwinsFields:
    """The twins contrastive mechanism (TCM)."""

    overlap: float = 0.4
    """Share of the identities that both twins see; 1 is the usual split."""
    stratify_by_camera: bool = False
    """Halve a shared identity's images within each camera."""
    memory_momentum: float = 0.2
    """Share of a memory row that stays when it is moved."""
    temperature: float = 0.05
    """Temperature of the contrastive loss."""
    supervision: Literal["twins", "identity"] = "twins"
    """What moves weights and alpha: the twins' contrastive memories or, to compare with, a
    classifier of identities and the triplet loss on either side.
    """
    evaluate_every: int = 0
    """Epochs between scorings of the supernet on identities that train no weight (those that only
    the validation twin has); 0 for none.
    """
    leak_validation_gradient: bool = False
    """Let validation batches train the weights too, as the authors' code does: off, because
    identities that judge alpha must train no weight.
    """


@dataclass(frozen=True, kw_only=True)
class SupernetFields:
    """The network that holds all operations at once."""

    cell_width: Literal["derived", "reference"] = "derived"
    """Supernet cells as wide as the derived network's, so that alpha judges what is trained later,
    or narrower, as the authors' supernet's.
    """
    initial_gamma: float = 0.0
    """Where cross attention's gamma starts; at 0 it begins as no interaction at all."""
    drop_milestones: tuple[int, ...] = ()
    """After these epochs every slot loses its weakest operation for good."""


@dataclass(frozen=True, kw_only=True)
class AlphaFields:
    """How the architecture's parameters move."""

    alpha_learning_rate: float = 0.002
    """Learning rate of alpha (Adam, betas 0.5 and 0.999)."""
    alpha_weight_decay: float = 1e-3
    """Weight decay of alpha."""
    alpha_milestones: tuple[int, ...] | None = None
    """Epochs at which alpha's learning rate falls to a tenth; default 150, 225, 350 of 350, scaled.
    """
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


@dataclass(frozen=True, kw_only=True)
class ArchitectureFields:
    """What is trained."""

    genotype: str = "paper"
    """`paper`, a genotype's text, a genotype.json, or a search run folder."""
    backbone: str = "msinet"
    """The network: msinet, resnet18, resnet50, timm:NAME, torchvision:NAME, or a function of your
    own, package.module:function. All but msinet take no genotype or channels, and have
    MSINet's heads.
    """
    pooling: Literal["average", "gem"] = "average"
    """How the last map becomes the global feature: its mean, or a generalised mean (GeM) with an
    exponent that is learnt from 3 on, for maps without negative values.
    """
    drop_path: float = 0.0
    """Probability that the last cell is skipped for an image in training (stochastic depth), the
    first ones less in proportion, such as 0.1; of msinet only.
    """
    pretrained: bool = False
    """Begin with the library's own weights of a backbone; so does one whose name has their tag, as
    in timm:resnet50.a1_in1k.
    """
    last_stride: int = 1
    """Stride of a ResNet's last stage: 1 keeps its map as fine as the stage before, as is usual for
    ReID, 2 is the library's.
    """
    weights: str | None = None
    """Start from what fits of these weights: a run folder, or a .pth or .safetensors file of the
    authors' or anybody's. Classifiers begin at random.
    """
    freeze_epochs: int = 0
    """First epochs in which weights that were loaded stay as they are."""
    loaded_rate: float = 1.0
    """Share of the learning rate for weights that were loaded."""

    def check_start(self) -> None:
        """`ReidError` for a backbone that is none, and for options of weights without any."""
        known = self.backbone in BACKBONES or self.backbone.startswith(("timm:", "torchvision:"))
        if not known and not is_function_name(self.backbone):
            raise ReidError(
                f"there is no backbone {self.backbone!r}; give {', '.join(BACKBONES)}, timm:NAME, "
                "torchvision:NAME, or package.module:function"
            )
        if self.pretrained and not self.of_library:
            raise ReidError(
                f"{self.backbone} has no library's weights; give a file or a run folder as weights"
            )
        if self.drop_path and self.backbone != BACKBONES[0]:
            raise ReidError(f"drop_path skips cells, and {self.backbone} has none; leave it out")
        if self.last_stride not in (1, 2):
            raise ReidError(f"last_stride is 1 or 2; got {self.last_stride}")
        begins_somewhere = self.weights or self.of_library
        if not begins_somewhere and (self.freeze_epochs or self.loaded_rate != 1):
            raise ReidError(
                "freeze_epochs and loaded_rate are about weights that were loaded; give weights"
            )

    @property
    def of_library(self) -> bool:
        """Whether the backbone is a library's, which may have weights of its own."""
        return self.backbone != BACKBONES[0] and not is_function_name(self.backbone)


@dataclass(frozen=True, kw_only=True)
class LossFields:
    """Losses and gradient."""

    label_smoothing: float = 0.1
    """Of the cross-entropy."""
    margin: float = 0.3
    """Of the triplet loss."""
    alignment: Literal["none", "pos", "neg", "pos_neg"] = "none"
    """Parts of the spatial alignment loss."""
    alignment_weight: float = 2.0
    """Weight of the spatial alignment loss."""
    max_gradient_norm: float | None = 10.0
    """A gradient longer than this (of all weights together) is shortened to it, so that one batch
    cannot throw a run from scratch off; none leaves it, as the authors do.
    """
    circle_weight: float = 0.0
    """Weight of a circle loss beside the others, on the retrieval feature (extra `losses`)."""
    centre_weight: float = 0.0
    """Weight of a centre loss: squared distance to a learnt centre of the identity (0.0005)."""
    ema: float = 0.0
    """Decay of a moving average of the weights, such as 0.99, which is then the network that is
    scored and kept; 0 for none.
    """


@dataclass(frozen=True, kw_only=True)
class EvaluationFields:
    """What is scored on the way, and what is kept."""

    evaluate_every: int = 10
    """Epochs between evaluations (the last epoch is always evaluated); 0 for the last only."""
    target: tuple[str, ...] = ()
    """Other data sets to score on beside the own test set, as name=folder or
    name=folder,option=value.
    """
    validation_share: float = 0.0
    """Share of the training identities that is held out, by the seed, and scored as a test of its
    own, with no part in training.
    """
    keep: Literal["last", "best", "all"] = "last"
    """Networks to keep: the last; also the best, judged by --validation-share; or also that of
    every evaluation.
    """


@dataclass(frozen=True, kw_only=True)
class PretrainFields:
    """Learning classes."""

    batch: int = 64
    """Images of a batch, drawn by lot (of each process, as everywhere)."""
    held_out: float = 0.1
    """Share of each class's images that validates, by the seed, where the data has no test images
    of its training classes.
    """


# -- the configurations --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunConfig(DataFields, BatchFields, NetworkFields, OptimizerFields, SystemFields):
    """What search and training have in common."""

    # Fields that say how a run is carried out, not what it computes: free to differ on resume.
    OPERATIONAL: ClassVar[frozenset[str]] = frozenset(
        {
            *("root", "target", "device", "workers", "cache", "cache_dir", "save_every"),
            *("speed", "compile", "deterministic", "imports", "keep", "track"),
        }
    )
    KIND: ClassVar[str] = ""
    SECTIONS: ClassVar[dict[str, type]] = {}
    HIDDEN: ClassVar[frozenset[str]] = frozenset()  # fields that mean nothing to this kind
    AUTHORS: ClassVar[dict[str, Any]] = {}
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}
    _POSITIVE: ClassVar[tuple[str, ...]] = (
        *("height", "width", "epochs", "identities_per_batch", "images_per_identity"),
        *("save_every", "accumulate"),
    )
    _NOT_NEGATIVE: ClassVar[tuple[str, ...]] = (
        *("learning_rate", "momentum", "weight_decay", "pad", "seed", "warmup_epochs", "workers"),
        *("colour_cast", "grey"),
    )
    _SHARES: ClassVar[tuple[str, ...]] = ("colour_cast", "grey")  # 0 to 1

    imports: tuple[str, ...] = ()
    """Modules that register operations of your own (`--import`); kept so that an error can name
    them, never imported unasked.
    """

    def __post_init__(self) -> None:
        self._make_plain()
        for name in (*self._POSITIVE, *self._NOT_NEGATIVE):
            value, positive = getattr(self, name), name in self._POSITIVE
            if value is not None and not (value > 0 if positive else value >= 0):
                raise ReidError(
                    f"{name} must {'be positive' if positive else 'not be negative'}; got {value}"
                )
        for name in self._SHARES:
            if getattr(self, name) > 1:
                raise ReidError(f"{name} lies between 0 and 1; got {getattr(self, name)}")
        if min(self.height, self.width) < 32:
            raise ReidError(
                f"images of {self.height} x {self.width} are too small; 32 or more are needed"
            )
        if any(width < 16 or width % 4 for width in self.channels):
            raise ReidError(f"channels are multiples of 4, at least 16 each; got {self.channels}")
        if self.images_per_identity < 2:
            raise ReidError(
                "images_per_identity must be at least 2: the losses compare images of one identity"
            )
        if len(self.data_names) != len(self.roots) and self.roots:
            raise ReidError(
                f"there are {len(self.data_names)} data sets for {len(self.roots)} folders; give "
                "each --data its --root"
            )
        own = type(self).__dataclass_fields__["learning_rate"].default
        if self.optimizer == "adamw" and self.learning_rate == own:
            raise ReidError(
                f"a learning rate of {own} is SGD's; AdamW takes one about 0.00035: give "
                "--learning-rate"
            )
        self._check_rising("milestones")

    def _make_plain(self) -> None:
        """Every field checked against its annotation and stored as a plain value, `~` expanded."""
        for name, annotation in _annotations(type(self)).items():
            value = plain(name, getattr(self, name), annotation)
            if name in ("data", "root") and isinstance(value, tuple) and len(value) == 1:
                value = value[0]
            if name in ("root", "cache_dir", "genotype", "weights"):
                value = _home(value)
            object.__setattr__(self, name, value)

    def _check_rising(self, name: str) -> None:
        given = getattr(self, name) or ()
        if list(given) != sorted(set(given)):
            raise ReidError(f"{name} must rise; got {given}")

    def remembering_modules(self) -> Self:
        """The same with the modules of all registered operations, and of a backbone of one's own,
        among `imports`.
        """
        backbone = getattr(self, "backbone", "")
        own = backbone.partition(":")[:1] if is_function_name(backbone) else ()
        further = [
            module
            for module in (*OPERATIONS.modules, *own)
            if not any(f"{module}.".startswith(f"{known}.") for known in self.imports)
        ]
        return replace(self, imports=(*self.imports, *further))

    @classmethod
    def to_the_letter(cls, **given: Any) -> Self:
        """The configuration with the authors' choices where the defaults differ from them."""
        return cls(**{**cls.AUTHORS, **given})

    @classmethod
    def of_recipe(cls, name: str = "paper", exact: bool = False, **given: Any) -> Self:
        """The configuration with a recipe's values as defaults; `exact` is `to_the_letter`, and of
        the paper's recipe only.
        """
        return cls(**{**cls.recipe(name, exact), **given})

    @classmethod
    def recipe(cls, name: str, exact: bool = False) -> dict[str, Any]:
        """The fields that a recipe sets; `ReidError` where there is none of that name."""
        if name not in cls.RECIPES:
            raise ReidError(f"there is no recipe {name!r}; there are {', '.join(cls.RECIPES)}")
        if exact and name != "paper":
            raise ReidError(
                f"exact is the paper's recipe to the letter; it cannot be had with {name!r}"
            )
        return {**cls.RECIPES[name], **(cls.AUTHORS if exact else {})}

    @property
    def data_names(self) -> tuple[str, ...]:
        """The kind of each data set; a single kind is that of all folders."""
        names = (self.data,) if isinstance(self.data, str) else self.data
        return names * len(self.roots) if len(names) == 1 and self.roots else names

    @property
    def roots(self) -> tuple[str, ...]:
        """The folder of each data set, none where it was not said."""
        return ((self.root,) if self.root else ()) if isinstance(self.root, str) else self.root

    @property
    def across_domains(self) -> bool:
        """Whether tests on other data sets turned the augmentation, as nobody chose one."""
        return self.augmentation == "auto" and bool(getattr(self, "target", ()))

    @property
    def chosen_augmentation(self) -> str:
        """What `auto` stands for, and any other as it is."""
        if self.augmentation != "auto":
            return self.augmentation
        return "across" if self.across_domains else "within"

    @property
    def data_options(self) -> dict[str, str]:
        """`options` as a mapping of texts, for `load_dataset`."""
        return parse_options(self.options)

    @property
    def batch_size(self) -> int:
        """Images that a process passes through the network at once."""
        return self.identities_per_batch * self.images_per_identity

    @property
    def scaled_pad(self) -> int:
        """Pixels of padding: the given ones, or the paper's, fewer for small images."""
        if self.pad is not None:
            return self.pad
        return round(PAPER_PAD * min(self.height, self.width, PAPER_WIDTH) / PAPER_WIDTH)

    @property
    def scaled_warmup(self) -> float:
        """Epochs of warm-up: the given ones, or the paper's in proportion to `epochs`."""
        if self.warmup_epochs is not None:
            return self.warmup_epochs
        if self.schedule == "cosine":
            return self.epochs / 10
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
        mine, theirs = (
            {**config.to_dict(), "augmentation": config.chosen_augmentation}
            for config in (self, other)
        )
        return {
            name: (mine.get(name), theirs.get(name))
            for name in sorted({*mine, *theirs} - self.OPERATIONAL)
            if mine.get(name) != theirs.get(name)
        }

    def forbids(self, asked: RunConfig) -> dict[str, tuple[Any, Any]]:
        """What keeps a run of this configuration from being resumed as `asked`: any difference
        but more epochs.
        """
        found = self.differences(asked)
        if asked.epochs > self.epochs:
            found.pop("epochs", None)
        return found

    def from_anywhere(self) -> Self:
        """The same with absolute paths to data, to be found from any folder."""
        changed: dict[str, Any] = {"root": tuple(map(os.path.abspath, self.roots)) or ""}
        if targets := getattr(self, "target", ()):
            changed["target"] = tuple(map(_from_anywhere, targets))
        return replace(self, **changed)


@dataclass(frozen=True, kw_only=True)
class SearchConfig(RunConfig, TwinsFields, SupernetFields, AlphaFields):
    """Architecture search with the twins contrastive mechanism."""

    KIND: ClassVar[str] = "search"
    SECTIONS: ClassVar[dict[str, type]] = {
        "data": DataFields,
        "batch": BatchFields,
        "network": NetworkFields,
        "optimizer": OptimizerFields,
        "twins": TwinsFields,
        "supernet": SupernetFields,
        "alpha": AlphaFields,
        "system": SystemFields,
    }
    AUTHORS: ClassVar[dict[str, Any]] = {
        "precision": "fp32",
        "different_cameras": False,
        "cell_width": "reference",
        "leak_validation_gradient": True,
    }
    _POSITIVE: ClassVar[tuple[str, ...]] = (
        *RunConfig._POSITIVE,
        *("temperature", "alpha_every", "alpha_identities_per_batch"),
        *("alpha_temperature", "alpha_temperature_end"),
    )
    _NOT_NEGATIVE: ClassVar[tuple[str, ...]] = (
        *RunConfig._NOT_NEGATIVE,
        *("alpha_learning_rate", "alpha_weight_decay", "alpha_warmup_epochs", "evaluate_every"),
    )

    learning_rate: float = 0.025

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_rising("drop_milestones")
        for name in ("overlap", "memory_momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ReidError(f"{name} lies between 0 and 1; got {getattr(self, name)}")

    def for_validation(self) -> SearchConfig:
        """The same with the batches of the validation side, those that alpha sees."""
        return replace(
            self, identities_per_batch=self.alpha_identities_per_batch or self.identities_per_batch
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig, ArchitectureFields, LossFields, EvaluationFields):
    """Training of a derived network."""

    KIND: ClassVar[str] = "train"
    SECTIONS: ClassVar[dict[str, type]] = {
        "data": DataFields,
        "batch": BatchFields,
        "architecture": ArchitectureFields,
        "network": NetworkFields,
        "optimizer": OptimizerFields,
        "loss": LossFields,
        "evaluation": EvaluationFields,
        "system": SystemFields,
    }
    AUTHORS: ClassVar[dict[str, Any]] = {
        "precision": "fp32",
        "different_cameras": False,
        "max_gradient_norm": None,
    }
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "strong": {
            "schedule": "cosine",
            "learning_rate": 0.13,
            "ema": 0.99,
            "augmentation": "both",
            "pad": None,
        },
    }
    _POSITIVE: ClassVar[tuple[str, ...]] = (
        *RunConfig._POSITIVE,
        *("max_gradient_norm", "loaded_rate"),
    )
    _NOT_NEGATIVE: ClassVar[tuple[str, ...]] = (
        *RunConfig._NOT_NEGATIVE,
        *("label_smoothing", "margin", "alignment_weight", "evaluate_every", "freeze_epochs"),
        *("circle_weight", "centre_weight", "validation_share", "ema", "drop_path"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_start()
        for name in ("ema", "validation_share", "drop_path"):
            if getattr(self, name) >= 1:
                raise ReidError(f"{name} lies between 0 and 1; got {getattr(self, name)}")
        if self.keep == "best" and not self.validation_share:
            raise ReidError(
                "the best network is judged by identities that are neither trained on nor tested "
                "with, and none are held out: give --validation-share 0.1 as well"
            )
        for text in self.target:
            named_folder(text)

    def resolved_genotype(self) -> Genotype:
        """The genotype that the text, file or run folder stands for."""
        try:
            return read_genotype(self.genotype)
        except UnknownOperation as error:
            raise error.registered_by(self.imports) from None


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainConfig, PretrainFields):
    """Pretraining of a network on classes: an image folder, or identities without cameras."""

    KIND: ClassVar[str] = "pretrain"
    SECTIONS: ClassVar[dict[str, type]] = {**TrainConfig.SECTIONS, "pretraining": PretrainFields}
    HIDDEN: ClassVar[frozenset[str]] = frozenset(
        {
            *("identities_per_batch", "images_per_identity", "different_cameras", "mixing"),
            *("margin", "alignment", "alignment_weight", "circle_weight", "centre_weight"),
            *("target", "validation_share", "keep", "min_images"),
        }
    )
    AUTHORS: ClassVar[dict[str, Any]] = {}
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}
    _POSITIVE: ClassVar[tuple[str, ...]] = (*TrainConfig._POSITIVE, "batch")
    _NOT_NEGATIVE: ClassVar[tuple[str, ...]] = (*TrainConfig._NOT_NEGATIVE, "held_out")

    data: str = "classes"
    min_images: int | None = 1
    epochs: int = 90
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.held_out >= 1:
            raise ReidError(f"held_out lies between 0 and 1; got {self.held_out}")

    @property
    def batch_size(self) -> int:
        return self.batch


def _annotations(kind: type[RunConfig]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def named_folder(text: str) -> tuple[str, str, dict[str, str]]:
    """Name, folder and options of a data set given as `name=folder,option=value,...`; a part
    without `=` belongs to the one before.
    """
    parts: list[str] = []
    for part in text.split(","):
        if "=" in part or not parts:
            parts.append(part)
        else:
            parts[-1] += f",{part}"
    name, sign, root = parts[0].partition("=")
    if not sign or not name or not root:
        raise ReidError(
            f"data sets are given as name=folder, such as market1501=data/market; got {text!r}"
        )
    return name, os.path.expanduser(root), parse_options(tuple(parts[1:]))


def _from_anywhere(text: str) -> str:
    """The same name=folder,option=value with an absolute folder."""
    name, root, options = named_folder(text)
    named = (f"{option}={value}" for option, value in options.items())
    return ",".join((f"{name}={os.path.abspath(root)}", *named))


def _home(value: Any) -> Any:
    """A path, or each of several, with `~` expanded."""
    if isinstance(value, tuple):
        return tuple(map(_home, value))
    return os.path.expanduser(value) if isinstance(value, str) else value


def parse_options(options: tuple[str, ...]) -> dict[str, str]:
    """`("test_size=1600", "boxes=labeled")` as a mapping; `load_dataset` makes numbers of the texts
    where an option is one.
    """
    parsed = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not sign or not name:
            raise ReidError(f"data set options are given as name=value; got {option!r}")
        parsed[name] = value
    return parsed


def read_genotype(source: str | Path) -> Genotype:
    """From `paper`, a genotype's text, a genotype.json, or a run folder that holds one."""
    path = os.path.expanduser(source)
    if os.path.isdir(path):
        found = genotype_of_run(Path(path))
        if found is None:
            raise ReidError(
                f"run folder {path!r} has no genotype yet; let its search finish an epoch"
            )
        return found
    if os.path.exists(path):
        return _genotype_in(Path(path))
    if path.endswith(".json"):
        raise ReidError(f"no genotype file at {path!r}")
    return Genotype.parse(path)


def genotype_of_run(folder: Path) -> Genotype | None:
    """The architecture in a run folder so far, if there is one."""
    file = folder / "genotype.json"
    try:
        content = read_bytes(file, LARGEST_GENOTYPE)  # a file that cannot be read is an error
        return None if content is None else Genotype.from_json(content.decode(errors="replace"))
    except UnknownOperation as error:
        stored = read_json(folder / "config.json")
        modules = stored.get("imports") if isinstance(stored, dict) else None
        raise error.registered_by(modules if isinstance(modules, list) else ()) from None


def _genotype_in(file: Path) -> Genotype:
    return Genotype.from_json((read_bytes(file, LARGEST_GENOTYPE) or b"").decode(errors="replace"))


def config_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """The configuration that `to_dict` wrote; unknown or missing kinds and fields are a
    `ReidError`.
    """
    classes: dict[str, type[RunConfig]] = {
        c.KIND: c for c in (SearchConfig, TrainConfig, PretrainConfig)
    }
    kind = classes.get(str(values.get("kind")))
    if kind is None:
        raise ReidError(
            f"the configuration has kind {values.get('kind')!r}; known are {', '.join(classes)}"
        )
    given = {name: value for name, value in values.items() if name != "kind"}
    if "backbone" in given:  # older versions had ResNets as their library makes them
        given.setdefault("last_stride", 2)
    unknown = sorted(given.keys() - _annotations(kind).keys())
    if unknown:
        raise ReidError(
            f"the configuration has {', '.join(unknown)}, which this version does not know; "
            "it was written by another version of msinet-core"
        )
    return kind(**given)
