"""What a run is made of: frozen dataclasses, checked when made, JSON in and out. No torch.

Fields (`options.py`) lie in sections, which `--help` shows as groups; for users they stay flat:
`SearchConfig(data="market1501", root="data/market", height=256)`. Two differences from the authors'
code are no field: an epoch's batches (`data.sampler`: nearly every image once; theirs stops at the
first identity that runs out) and VehicleID's test list and draws (`data.lists`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self, get_type_hints

from msinet_core.errors import ReidError
from msinet_core.fields import plain
from msinet_core.files import read_bytes, read_json
from msinet_core.functions import is_function_name
from msinet_core.options import (
    PAPER_EPOCHS,
    AlphaFields,
    ArchitectureFields,
    BatchFields,
    DataFields,
    EvaluationFields,
    LossFields,
    NetworkFields,
    OptimizerFields,
    PretrainFields,
    SupernetFields,
    SystemFields,
    TwinsFields,
)
from msinet_core.space import OPERATIONS, Genotype, UnknownOperation

LARGEST_GENOTYPE = 1 << 20  # bytes of a file that is read as one
PAPER_MILESTONES = (150, 225, 300)
PAPER_ALPHA_MILESTONES = (150, 225, 350)
PAPER_WARMUP = 10
PAPER_PAD, PAPER_WIDTH = 10, 128  # pixels


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
