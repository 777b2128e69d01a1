"""Every option of a run, with its default and its help, in sections. No torch.

A field's text is its help on the command line, and says where its default is not the authors' and
why. `config.py` puts the sections together and checks the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msinet_core.errors import ReidError
from msinet_core.functions import is_function_name

Device = Literal["auto", "cpu", "cuda", "mps", "xpu"]
DATA_SETS = (
    *("market1501", "msmt17", "veri776", "vehicleid", "cuhk03"),
    *("folders", "classes", "manifest", "table"),
)
BACKBONES = ("msinet", "resnet18", "resnet50")  # besides those of libraries and of one's own
PAPER_EPOCHS = 350


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
