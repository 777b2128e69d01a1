"""The search that repeats the bilevel step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from msinet_core.config import PAPER_ALPHA_MILESTONES, SearchConfig
from msinet_core.data.batches import TrainBatches
from msinet_core.data.joining import split_each
from msinet_core.data.table import ReidDataset
from msinet_core.data.twins import TwinSplit
from msinet_core.models.supernet import Supernet
from msinet_core.replay import Stepper, Values
from msinet_core.runs.checkpoints import load_optimizer
from msinet_core.runs.epochs import carry_out
from msinet_core.runs.feeding import open_dataset, step_paths, usable_identities
from msinet_core.runs.fingerprint import Fingerprint
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.schedule import RateOverTime, Schedule
from msinet_core.runs.stopping import Stop
from msinet_core.runs.worker import Job, Worker
from msinet_core.search.memory import ContrastiveMemory
from msinet_core.search.regularizer import Steadying, prepare
from msinet_core.search.scoring import held_out_images, score_supernet
from msinet_core.search.step import Batch, BilevelStep
from msinet_core.search.supervision import IdentityClassifier


class TwinSearch(Worker):
    """A search in progress: supernet, both optimisers and schedules, both memories, its place."""

    config: SearchConfig
    model: Supernet

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        config = self.config
        split = split_for(config, self.dataset)
        self.data = Fingerprint(self.dataset, (split.train, split.validation))
        self.train_batches = self.training_batches(split.train, 2 * config.seed)
        self.validation_batches = self.training_batches(
            split.validation, 2 * config.seed + 1, config.for_validation()
        )
        self.steps = len(self.train_batches) // config.accumulate
        torch.manual_seed(config.seed)
        supernet = prepare(Supernet(config.channels, config.cell_width), config).train()
        self.model = self.supernet = self.accelerate(supernet)
        self.memories = [
            self._memory(batches) for batches in (self.train_batches, self.validation_batches)
        ]
        self.optimizers = _, alpha_optimizer = (
            self.make_optimizer(self.supernet.weight_parameters()),
            make_adam(self.supernet, config),
        )
        self.schedules = self._schedules()
        self.steadying = Steadying(config, self.supernet, alpha_optimizer)
        self.held_out = held_out_images(self, split) if config.evaluate_every else None
        weights = Stepper(self.optimizers[0], self.replays)
        self.bilevel_step = BilevelStep(
            self.supernet,
            (weights, Stepper(alpha_optimizer, self.replays, weights.spoilt)),
            self.memories,
            leak=config.leak_validation_gradient,
            processes=self.processes,
            most=config.images_per_identity * self.processes.size if self.replays else None,
            replay=self.replayed,
            constants=lambda: (supernet.temperature, self.steadying.penalty),
        )

    def _schedules(self) -> list[RateOverTime]:
        """Of the weights and of alpha, from the start."""
        config, (weights, alpha) = self.config, self.optimizers
        milestones = config.milestone_ticks(config.alpha_milestones, PAPER_ALPHA_MILESTONES)
        return [self.weight_schedule(weights), Schedule(alpha, milestones, config.ticks_per_epoch)]

    def _memory(self, batches: TrainBatches) -> ContrastiveMemory:
        """An empty memory of the identities in some batches, or what supervises instead of one."""
        config, device = self.config, self.device
        size = int(batches.labels.max()) + 1, self.supernet.feature_length
        if config.supervision == "identity":
            return IdentityClassifier(*size, config.learning_rate, device=device)
        return ContrastiveMemory(*size, config.memory_momentum, config.temperature, device)

    def batches(self) -> Iterator[tuple[list[Batch], list[Batch] | None]]:
        """For each step left: train batches and, but for an epoch's first, validation batches."""
        count, steps = self.config.accumulate, self.steps
        train = self.train_batches.epochs(
            self.epoch, self.step * count, self.config.epochs, steps * count
        )
        seen = self._validation_steps(self.step) * count
        validation = self.validation_batches.epochs(*divmod(seen, len(self.validation_batches)))
        for place in range(self.epoch * steps + self.step, self.config.epochs * steps):
            own = [(images, labels) for images, labels, _ in islice(train, count)]
            is_first = place % steps == 0
            others = () if is_first else islice(validation, count)
            yield own, None if is_first else [(images, labels) for images, labels, _ in others]

    def _validation_steps(self, step: int) -> int:
        """Steps with a validation half before step `step` of the current epoch, of all epochs."""
        return self.epoch * (self.steps - 1) + max(0, step - 1)

    def run_step(self, batches: Iterator[tuple[list[Batch], list[Batch] | None]]) -> Values:
        train, validation = next(batches)
        if not self.steadying.begin_step(self.epoch, self.step):
            validation = None
        for schedule in self.schedules:
            schedule.move_to(self.epoch + self.step / self.steps)
        with self.autocast():
            values = self.bilevel_step(train, validation)
        self.step += 1
        return values

    def rates(self) -> list[float]:
        return [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]

    def batch_paths(self) -> dict[str, list[str]]:
        count = self.config.accumulate
        paths = {"train": step_paths(self.train_batches, self.epoch, self.step, count)}
        if self.step:
            place = self._validation_steps(self.step) * count
            paths["validation"] = [
                path
                for at in range(place, place + count)
                for path in step_paths(
                    self.validation_batches, *divmod(at, len(self.validation_batches)), 1
                )
            ]
        return paths

    def memory_rows(self) -> list[Tensor]:
        return [memory.rows for memory in self.memories]

    def finish_epoch(self, seconds: float) -> None:
        """Record alpha, its temperature and the genotype after the epoch's last step."""
        self.steadying.end_epoch(self.epoch + 1)
        supernet, rates = self.supernet, self.rates()
        self.run.append(
            "epoch",
            epoch=self.epoch + 1,
            alphas=supernet.alphas.detach().cpu().tolist(),
            temperature=supernet.temperature,
            genotype=str(supernet.genotype()),
            gammas=supernet.gammas(),
            **self.averages.means(),
            learning_rate=rates[0],
            alpha_learning_rate=rates[1],
            seconds=round(seconds, 3),
            images_per_second=round(2 * self.steps * self.step_images / seconds, 2),
        )
        self.run.write_genotype(supernet.genotype())
        due = self.next_epoch(self.config.evaluate_every)
        if due and self.held_out is not None:
            score_supernet(self, self.supernet, self.held_out)

    def result(self) -> str:
        return f"search finished: {self.run.genotype()}"

    def state(self) -> dict[str, Any]:
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "memories": [memory.state_dict() for memory in self.memories],
        }

    def load(self, state: dict[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            load_optimizer(optimizer, saved)
        self.schedules = self._schedules()
        for schedule in self.schedules:
            schedule.move_to(self.last_place(state))
        for memory, saved in zip(self.memories, state["memories"], strict=True):
            memory.load_state_dict(saved)


def split_for(config: SearchConfig, dataset: ReidDataset) -> TwinSplit:
    """The twins split that a configuration describes."""
    table = usable_identities(dataset.train, config)
    return split_each(table, config.overlap, config.stratify_by_camera)


def make_adam(supernet: Supernet, config: SearchConfig) -> Adam:
    """The optimiser of alpha; on a GPU in the form that can be replayed."""
    on_gpu = supernet.alphas.is_cuda
    return Adam(
        [supernet.alphas],
        config.alpha_learning_rate,
        betas=(0.5, 0.999),
        weight_decay=config.alpha_weight_decay,
        fused=on_gpu or None,
        capturable=on_gpu,
    )


def search(
    config: SearchConfig,
    folder: str | Path | RunFolder,
    *,
    dataset: ReidDataset | None = None,
    resume: bool = False,
    progress: bool = True,
    stop: Stop | None = None,
) -> RunFolder:
    """Search an architecture, writing everything into a run folder, and give that back.

    `resume` goes on where the folder's last checkpoint stands (a finished run is left as it is).
    Ctrl-C, SIGTERM or `stop` save and raise `Stopped`.
    """
    job = Job(config, dataset or open_dataset(config), RunFolder.at(folder), progress)
    return carry_out(TwinSearch, job, resume, stop)
