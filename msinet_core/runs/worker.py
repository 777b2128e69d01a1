"""A run in progress."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import SGD

from msinet_core import speed
from msinet_core.config import RunConfig, SearchConfig, TrainConfig
from msinet_core.data.table import ReidDataset
from msinet_core.runs.averages import Averages
from msinet_core.runs.checkpoints import Checkpoint
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.processes import ALONE, Processes

Network = TypeVar("Network", bound=nn.Module)


class Worker(ABC):
    """What a search and a training have in common: `epoch` epochs are done and `step` of `steps`
    steps of the next.

    Every batch follows from the seed and that place, so a checkpoint needs nothing else of the
    data. `data` tells that apart from other data; `model` is the network that is saved.

    How fast it computes is this class's to know (`accelerate`, `autocast`, `make_sgd`, `replayed`),
    not that of a search or a training.
    """

    model: nn.Module
    steps: int
    data: dict[str, str]

    def __init__(
        self,
        config: RunConfig,
        dataset: ReidDataset,
        run: RunFolder,
        progress: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        self.config, self.dataset, self.run = config, dataset, run
        self.progress, self.processes = progress, processes
        self.device = speed.choose_device(config.device, processes.device)
        self.averages = Averages()
        self.epoch = self.step = 0
        self._graphs: Any = None

    @property
    def step_images(self) -> int:
        """Images in a step (in one half of it in a search), of all processes."""
        return self.config.batch_size * self.config.accumulate * self.processes.size

    def accelerate(self, model: Network) -> Network:
        """The model on this run's device, as fast there as the configuration allows."""
        return speed.accelerate(model, self.device, self.config)

    def autocast(self) -> AbstractContextManager[None]:
        """The arithmetic that the configuration asks for, around passes through the model."""
        return speed.autocast(self.config, self.device)

    def make_sgd(self, parameters: Iterable[nn.Parameter]) -> SGD:
        """The optimiser of the weights."""
        assert isinstance(self.config, SearchConfig | TrainConfig)
        return speed.make_sgd(parameters, self.config)

    def replayed(
        self, function: Callable[..., Any], constants: Callable[[], object] = lambda: None
    ) -> Callable[..., Any]:
        """`function` of tensors as one CUDA graph where that was asked for (`speed.Replayed`)."""
        if not self.config.compile:
            return function
        if self._graphs is None and torch.cuda.is_available():
            self._graphs = torch.cuda.graph_pool_handle()  # for all, as they take turns
        return speed.Replayed(function, constants, self._graphs)

    @abstractmethod
    def batches(self) -> Iterator[Any]:
        """What `run_step` draws from for each step left of the current epoch."""

    @abstractmethod
    def run_step(self, batches: Iterator[Any]) -> dict[str, float]:
        """The next step; its losses and norms, averaged over the processes."""

    @abstractmethod
    def finish_epoch(self, seconds: float) -> None:
        """Record the epoch whose last step was done, and go to the next."""

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
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Weights, and everything else that the next step depends on."""

    @abstractmethod
    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same configuration and data."""
