"""A run in progress."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from msinet_core import speed
from msinet_core.config import RunConfig, SearchConfig, TrainConfig
from msinet_core.data.batches import TrainBatches
from msinet_core.data.images import ImageReader, open_images
from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError
from msinet_core.replay import Replayed, Values
from msinet_core.runs.averages import Averages
from msinet_core.runs.checkpoints import Checkpoint
from msinet_core.runs.feeding import training_batches, worker_threads
from msinet_core.runs.fingerprint import Fingerprint
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.processes import ALONE, Processes
from msinet_core.runs.schedule import Cosine, RateOverTime, Schedule

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Job:
    """What a worker is to do, with which data, and where it writes."""

    config: RunConfig
    dataset: ReidDataset
    run: RunFolder
    progress: bool = False
    processes: Processes = ALONE


class Worker(ABC):
    """What a search and a training have in common: `epoch` epochs are done and `step` of `steps`
    steps of the next.

    Every batch follows from the seed and that place, so a checkpoint needs nothing else of the
    data. `data` tells that apart from other data; `model` is the network that is trained.

    How fast it computes is this class's to know (`accelerate`, `autocast`, `make_optimizer`,
    `replays`, `replayed`), not that of a search or a training.
    """

    model: nn.Module
    steps: int
    data: Fingerprint

    def __init__(self, job: Job) -> None:
        self.config, self.dataset, self.run = job.config, job.dataset, job.run
        self.progress, self.processes = job.progress, job.processes
        self.device = speed.choose_device(self.config.device, self.processes.device)
        self.averages = Averages()
        self.epoch = self.step = 0
        self._graphs: Any = None

    @property
    def network(self) -> nn.Module:
        """The network that is scored and saved."""
        return self.model

    @property
    def step_images(self) -> int:
        """Images in a step (in one half of it in a search), of all processes."""
        return self.config.batch_size * self.config.accumulate * self.processes.size

    def open_images(self, table: pd.DataFrame, root: Path | None = None) -> ImageReader:
        """The images of some rows, below the data set's root or another, as this run reads them."""
        config = self.config
        shared = config.cache == "auto" and self.processes.size > 1
        return open_images(
            table,
            root or self.dataset.root,
            config.height,
            config.width,
            # Several processes share one file of decoded images instead of each filling the memory.
            cache="disk" if shared else config.cache,
            cache_dir=config.cache_dir,
            on_bad_image=config.on_bad_image,
            workers=worker_threads(config, self.device),
            progress=self.progress,
        )

    def training_batches(
        self, table: pd.DataFrame, seed: int, config: RunConfig | None = None
    ) -> TrainBatches:
        """This process's augmented batches of some rows, as `config` (this run's) wants them."""
        reader = self.open_images(table)
        return training_batches(reader, config or self.config, self.device, seed, self.processes)

    @property
    def replays(self) -> bool:
        """Whether steps are recorded and replayed, and their values read some steps later."""
        return speed.replays(self.config, self.device)

    def accelerate(self, model: Network) -> Network:
        """The model on this run's device, as fast there as the configuration allows."""
        return speed.accelerate(model, self.device, self.config)

    def autocast(self) -> AbstractContextManager[None]:
        """The arithmetic that the configuration asks for, around passes through the model."""
        return speed.autocast(self.config, self.device)

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimiser of the weights."""
        assert isinstance(self.config, SearchConfig | TrainConfig)
        return speed.make_optimizer(parameters, self.config)

    def weight_schedule(self, optimizer: Optimizer) -> RateOverTime:
        """The learning rate of the weights over the run, from its start."""
        config = self.config
        if config.schedule == "cosine":
            return Cosine(optimizer, config.epochs, config.scaled_warmup)
        milestones = config.milestone_ticks(config.milestones)
        warmup = config.scaled_warmup > 0
        return Schedule(optimizer, milestones, config.ticks_per_epoch, warmup)

    def replayed(
        self, function: Callable[..., Any], constants: Callable[[], object] = lambda: None
    ) -> Replayed:
        """`function` of tensors as one CUDA graph where steps are replayed."""
        if self._graphs is None and self.replays:
            self._graphs = torch.cuda.graph_pool_handle()  # for all, as they take turns
        return Replayed(function, constants, self._graphs, self.replays)

    def last_place(self, state: Mapping[str, Any]) -> float:
        """Where the last step before a checkpoint lies, in epochs from the start."""
        epoch, step = divmod(max(0, state["epoch"] * self.steps + state["step"] - 1), self.steps)
        return epoch + step / self.steps

    def begin_epoch(self) -> None:  # noqa: B027, as a search has nothing to do
        """What there is to do before an epoch's first step, or that in which a run goes on."""

    @abstractmethod
    def batches(self) -> Iterator[Any]:
        """What `run_step` draws from for each step left of the run."""

    @abstractmethod
    def run_step(self, batches: Iterator[Any]) -> Values:
        """The next step; its losses and norms, averaged over the processes.

        `NotFinite` before it moves anything where one is not finite; a step that is replayed moves
        nothing then, and whoever reads its values finds out.
        """

    @abstractmethod
    def finish_epoch(self, seconds: float) -> None:
        """Record the epoch whose last step was done, and go to the next."""

    def next_epoch(self, evaluate_every: int) -> bool:
        """Go to the next epoch; whether this one's end is to be scored, as the last one's is."""
        self.averages = Averages()
        self.epoch, self.step = self.epoch + 1, 0
        last = self.epoch == self.config.epochs
        return last or bool(evaluate_every and self.epoch % evaluate_every == 0)

    @abstractmethod
    def result(self) -> str:
        """What a finished run ends in, for its log."""

    @abstractmethod
    def rates(self) -> list[float]:
        """Learning rates now."""

    @abstractmethod
    def batch_paths(self) -> dict[str, list[str]]:
        """The images of the step that is next or under way, of all processes."""

    @abstractmethod
    def memory_rows(self) -> list[Tensor]:
        """What must be the same on all processes, besides the weights."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What the next step of this kind depends on, besides the weights and its place."""

    @abstractmethod
    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""

    def checkpoint(self) -> Checkpoint:
        """The weights, and everything else that the next step depends on."""
        place = {
            "epoch": self.epoch,
            "epochs": self.config.epochs,
            "step": self.step,
            "averages": self.averages.state_dict(),
            "random": torch.get_rng_state(),
            "random_gpu": self._random_gpu(),
            "processes": self.processes.size,
            "precision": speed.precision_of(self.config, self.device),
            "threads": torch.get_num_threads(),
            **self.data.state,
        }
        return Checkpoint(self.network.state_dict(), {**place, **self.state()})

    def _random_gpu(self) -> Tensor | None:
        """The state of a GPU's own random numbers, which `drop_path` draws from."""
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same configuration and data."""
        state = checkpoint.state
        epoch, step = operator.index(state["epoch"]), operator.index(state["step"])
        if epoch not in range(self.config.epochs + 1) or step not in range(self.steps + 1):
            raise ReidError(
                f"the checkpoint in {str(self.run.path)!r} is of epoch {epoch + 1} after step "
                f"{step}, which a run of {self.config.epochs} epochs of {self.steps} steps does "
                "not have; start a new run with --run"
            )
        self.network.load_state_dict(checkpoint.weights)
        self.load(state)
        self.averages.load_state_dict(state["averages"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and state.get("random_gpu") is not None:
            torch.cuda.set_rng_state(state["random_gpu"], self.device)
        self.epoch, self.step = epoch, step
