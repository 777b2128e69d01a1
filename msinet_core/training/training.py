"""Training a derived network from a run folder's configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from msinet_core.config import TrainConfig
from msinet_core.data.held_out import hold_out
from msinet_core.data.table import ReidDataset
from msinet_core.models.networks import ReidNetwork
from msinet_core.replay import Stepper, Values
from msinet_core.retrieval.embedder import Embedder
from msinet_core.runs import guards
from msinet_core.runs.checkpoints import load_optimizer
from msinet_core.runs.epochs import carry_out, told
from msinet_core.runs.feeding import open_dataset, step_paths, usable_identities
from msinet_core.runs.fingerprint import Fingerprint
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.networks import begun, make_network
from msinet_core.runs.stopping import Stop
from msinet_core.runs.worker import Job, Worker
from msinet_core.training.ema import MovingAverage
from msinet_core.training.further_losses import FurtherLosses
from msinet_core.training.loaded import Loaded
from msinet_core.training.losses import LossParts, training_loss
from msinet_core.training.scoring import Scoring

LOSSES = ["loss", *(field.name for field in fields(LossParts) if field.name != "total"), "accuracy"]


class Training(Worker):
    """A training in progress: network, optimiser, schedule, and its place."""

    config: TrainConfig
    model: ReidNetwork

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        config = self.config
        self.genotype = config.resolved_genotype()
        train, held_out = usable_identities(self.dataset.train, config), None
        if config.validation_share:
            train, held_out = hold_out(train, config.validation_share, config.seed)
        self.train_batches = self.training_batches(train, config.seed)
        self.scoring = Scoring.of(self, held_out)
        self.data = Fingerprint(self.dataset, (self.train_batches.reader.table,))
        torch.manual_seed(config.seed)
        num_identities = int(self.train_batches.labels.max()) + 1
        begin = not self.run.has_checkpoint()
        network = make_network(config, self.genotype, num_identities, begin=begin)
        loaded = begun(network, config, self.run, self.processes.is_main_process)
        self.model = self.accelerate(network.train())
        self.loaded = Loaded(self.model, loaded)
        self.average = MovingAverage(self.model, config.ema) if config.ema else None
        further = FurtherLosses(config, num_identities, self.model.feature_length)
        self.further = further.to(self.device)
        self.gradient = self.replayed(self._gradient, lambda: self.loaded.frozen)
        self.update = self.replayed(self._update, lambda: (self.loaded.frozen, self.gradient.place))
        self.optimizer = self.make_optimizer(self.model.parameters())
        if config.freeze_epochs or config.loaded_rate != 1:
            self.loaded.separate(self.optimizer, config.loaded_rate)
        self.stepper = Stepper(self.optimizer, self.replays)
        self.schedule = self.weight_schedule(self.optimizer)
        self.steps = len(self.train_batches) // config.accumulate
        self.run.write_genotype(self.genotype)

    @property
    def network(self) -> ReidNetwork:
        return self.model if self.average is None else self.average.network

    def begin_epoch(self) -> None:
        self.loaded.freeze(self.epoch < self.config.freeze_epochs)

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        count = self.config.accumulate
        return self.train_batches.epochs(
            self.epoch, self.step * count, self.config.epochs, self.steps * count
        )

    def run_step(self, batches: Iterator[tuple[Tensor, Tensor, Tensor]]) -> Values:
        """One step over `accumulate` batches of every process; its mean losses."""
        self.schedule.move_to(self.epoch + self.step / self.steps)
        self.stepper.write_rates()
        chosen = islice(batches, self.config.accumulate)
        losses = self.gradient(*(x for images, labels, _ in chosen for x in (images, labels)))
        self._average_over_processes(losses)
        values = Values([*LOSSES, "gradient_norm"], self.update(losses))
        self.step += 1
        return values

    def _gradient(self, *batches: Tensor) -> Tensor:
        """The gradient of some batches, images and labels in turn; gives their mean `LOSSES`."""
        self.model.zero_grad()
        self.further.zero_grad()
        pairs = zip(batches[::2], batches[1::2], strict=True)
        return torch.stack([self.add_gradient(*pair) for pair in pairs]).mean(0)

    def _average_over_processes(self, losses: Tensor) -> None:
        if self.processes.size > 1:
            learnt = (*self.model.parameters(), *self.further.parameters())
            gradients = [p.grad for p in learnt if p.grad is not None]
            self.processes.average([losses, *gradients, *float_buffers(self.model)])

    def _update(self, losses: Tensor) -> Tensor:
        """Move everything that is learnt; gives the losses and the gradient's norm."""
        values = torch.cat((losses, self._shorten_gradient()[None]))
        self.stepper.step(Values([*LOSSES, "gradient_norm"], values))
        self.further.step()
        if self.average is not None:
            self.average.update()
        return values

    def _shorten_gradient(self) -> Tensor:
        """Keep `max_gradient_norm`; gives the norm before.

        Depthwise kernels start short, and the batch norms behind them make their gradients the
        longer. At the full rate a few such steps lengthen the first cells' kernels so much that
        they hardly learn any more.
        """
        largest = self.config.max_gradient_norm
        return nn.utils.clip_grad_norm_(
            self.model.parameters(), math.inf if largest is None else largest
        )

    def add_gradient(self, images: Tensor, labels: Tensor) -> Tensor:
        """Add this batch's share to the step's gradient; gives its `LOSSES`."""
        config = self.config
        with self.autocast():
            output = self.model(images)
            parts = training_loss(
                output,
                labels,
                margin=config.margin,
                label_smoothing=config.label_smoothing,
                alignment=config.alignment,
                alignment_weight=config.alignment_weight,
            )
            if self.further.are_any:
                parts = replace(parts, total=parts.total + self.further(output, labels))
        (parts.total / config.accumulate).backward()
        accuracy = (output.global_logits.argmax(1) == labels).float().mean()
        return torch.cat((parts.values(), accuracy[None]))

    def rates(self) -> list[float]:
        return [self.optimizer.param_groups[0]["lr"]]

    def batch_paths(self) -> dict[str, list[str]]:
        return {
            "train": step_paths(self.train_batches, self.epoch, self.step, self.config.accumulate)
        }

    def memory_rows(self) -> list[Tensor]:
        return []

    def finish_epoch(self, seconds: float) -> None:
        self.run.append(
            "epoch",
            epoch=self.epoch + 1,
            **self.averages.means(),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            seconds=round(seconds, 3),
            images_per_second=round(self.steps * self.step_images / seconds, 2),
        )
        if self.next_epoch(self.config.evaluate_every):
            self._evaluate()

    def _evaluate(self) -> None:
        """Score and keep the network as it is after an epoch."""
        config, epoch = self.config, self.epoch
        embedder = Embedder(self.network, device=self.device, processes=self.processes)
        is_best = self.scoring.record(embedder, self.run, epoch)
        if is_best and config.keep != "last":
            self.run.keep("best", self.network.state_dict(), self._about())
        if config.keep == "all":
            self.run.keep(f"epoch-{epoch:04}", self.network.state_dict(), self._about())

    def _about(self) -> dict[str, Any]:
        """What a network that is kept has beside its weights."""
        return {
            "epoch": self.epoch,
            "genotype": list(self.genotype.slots),
            "num_identities": self.model.num_identities,
        }

    def result(self) -> str:
        return f"training finished: {told(self.run.metrics() or {})}"

    def state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            **self._about(),
            "best": self.scoring.best,
            "further": self.further.state_dict(),
            "average": self.average.state_dict() if self.average else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        load_optimizer(self.optimizer, state["optimizer"])
        self.schedule = self.weight_schedule(self.optimizer)
        self.schedule.move_to(self.last_place(state))
        self.scoring.best = dict(state.get("best", {}))
        self.further.load_state_dict(state.get("further", {}))
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def train(
    config: TrainConfig,
    folder: str | Path | RunFolder,
    *,
    dataset: ReidDataset | None = None,
    resume: bool = False,
    progress: bool = True,
    stop: Stop | None = None,
) -> RunFolder:
    """Train a derived network, writing everything into a run folder, and give that back.

    The test set is checked before training starts and scored every `evaluate_every` epochs and at
    the end; data without one trains all the same. Stopping and resuming are as in `search`.
    """
    dataset = dataset or open_dataset(config)
    guards.check_test_set(dataset)
    job = Job(config, dataset, RunFolder.at(folder), progress)
    return carry_out(Training, job, resume, stop)


def float_buffers(model: nn.Module) -> list[Tensor]:
    """The running statistics of the batch norms: averages stay averages when they are averaged."""
    return [buffer for buffer in model.buffers() if buffer.is_floating_point()]
