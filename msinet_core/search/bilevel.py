"""The bilevel search step with twin memories, and the search that repeats it (paper: section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from msinet_core import loop
from msinet_core.config import PAPER_ALPHA_MILESTONES, SearchConfig
from msinet_core.data.table import ReidDataset
from msinet_core.data.twins import TwinSplit, twins_split
from msinet_core.errors import ReidError
from msinet_core.models.supernet import Supernet
from msinet_core.runs import Checkpoint, RunFolder
from msinet_core.search.memory import ContrastiveMemory
from msinet_core.search.steadying import Steadying, prepare, temperature_at
from msinet_core.space import OPERATIONS

Batch = tuple[Tensor, Tensor]  # images N x 3 x H x W, labels N


@dataclass(frozen=True)
class StepReport:
    """What one step did; norms are Euclidean."""

    train_loss: float
    validation_loss: float | None
    alpha_gradient: float | None
    weight_gradient: float

    def values(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if value is not None}


def bilevel_step(
    supernet: Supernet,
    weight_optimizer: Optimizer,
    alpha_optimizer: Optimizer,
    train_memory: ContrastiveMemory,
    validation_memory: ContrastiveMemory,
    train: Batch,
    validation: Batch | None,
    *,
    leak_validation_gradient: bool = False,
) -> StepReport:
    """One first-order step: alpha on the validation twin, then the weights on the train twin.

    The validation loss is differentiated with respect to alpha only and the train loss with
    respect to the weights only, so that validation identities never train the weights. With
    `leak_validation_gradient` the validation loss's gradient is added to the weights' one, as the
    authors' code does. Without a validation batch only the weights move (first step of an epoch).
    """
    weights = supernet.weights()
    validation_loss = alpha_gradient = None
    leaked: Sequence[Tensor | None] = [None] * len(weights)
    if validation is not None:
        images, labels = validation
        features = supernet(images)
        loss = validation_memory.loss(features, labels)
        wanted = [supernet.alphas, *weights] if leak_validation_gradient else [supernet.alphas]
        gradient, *rest = torch.autograd.grad(loss, wanted, allow_unused=True)
        supernet.alphas.grad = gradient
        alpha_gradient = float(gradient.norm())
        alpha_optimizer.step()
        supernet.alphas.grad = None
        validation_memory.update(features, labels)
        validation_loss = float(loss.detach())
        leaked = rest or leaked
    images, labels = train
    features = supernet(images)
    loss = train_memory.loss(features, labels)
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    for weight, own, other in zip(weights, gradients, leaked, strict=True):
        weight.grad = own if other is None or own is None else own + other
    weight_gradient = float(nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None]))
    weight_optimizer.step()
    weight_optimizer.zero_grad()
    train_memory.update(features, labels)
    return StepReport(float(loss.detach()), validation_loss, alpha_gradient, weight_gradient)


class TwinSearch:
    """A search in progress: supernet, both optimisers and schedules, both memories, and its place.

    `epoch` epochs are done and `step` steps of the next; every batch follows from the seed and
    that place, so a checkpoint needs nothing else of the data.
    """

    def __init__(self, config: SearchConfig, dataset: ReidDataset, run: RunFolder, progress: bool = False) -> None:
        self.config, self.run = config, run
        self.device = loop.choose_device(config.device)
        self.split = split_for(config, dataset)
        self.train_batches, self.validation_batches = (
            loop.training_batches(
                side, dataset.root, config.for_validation() if place else config, self.device,
                seed=2 * config.seed + place, progress=progress,
            )
            for place, side in enumerate((self.split.train, self.split.validation))
        )
        self.fingerprint = loop.fingerprint(self.split.train, self.split.validation)
        torch.manual_seed(config.seed)
        self.supernet = prepare(Supernet(config.channels, config.cell_width), config).to(self.device).train()
        loop.memory_format(self.supernet)
        self.memories = [
            ContrastiveMemory(
                int(batches.labels.max()) + 1, self.supernet.feature_length,
                config.memory_momentum, config.temperature, self.device,
            )
            for batches in (self.train_batches, self.validation_batches)
        ]  # fmt: skip
        self.optimizers = weight_optimizer, alpha_optimizer = optimizers(self.supernet, config)
        self.schedules = [
            loop.Schedule(
                weight_optimizer, config.milestone_ticks(config.milestones), config.ticks_per_epoch,
                warmup=config.scaled_warmup > 0,
            ),
            loop.Schedule(
                alpha_optimizer, config.milestone_ticks(config.alpha_milestones, PAPER_ALPHA_MILESTONES),
                config.ticks_per_epoch,
            ),
        ]  # fmt: skip
        self.steadying = Steadying(config, self.supernet, alpha_optimizer)
        self.averages = loop.Averages()
        self.epoch = self.step = 0
        self.steps = len(self.train_batches)

    def batches(self) -> Iterator[tuple[Batch, Batch | None]]:
        """The rest of the current epoch: a train batch and, but for the first, a validation batch."""
        validation = self._validation_from(self.epoch * (self.steps - 1) + max(0, self.step - 1))
        for step, (images, labels, _) in enumerate(self.train_batches.epoch(self.epoch, self.step), self.step):
            yield (images, labels), None if step == 0 else next(validation)

    def _validation_from(self, count: int) -> Iterator[Batch]:
        """Validation batches in endless epochs, entered after `count` of them."""
        epoch, start = divmod(count, len(self.validation_batches))
        while True:
            for images, labels, _ in self.validation_batches.epoch(epoch, start):
                yield images, labels
            epoch, start = epoch + 1, 0

    def run_step(self, batches: Iterator[tuple[Batch, Batch | None]]) -> dict[str, float]:
        train, validation = next(batches)
        if not self.steadying.begin_step(self.epoch, self.step):
            validation = None
        for schedule in self.schedules:
            schedule.move_to(self.epoch + self.step / self.steps)
        with loop.autocast(self.config, self.device):
            report = bilevel_step(
                self.supernet, *self.optimizers, self.memories[0], self.memories[1], train, validation,
                leak_validation_gradient=self.config.leak_validation_gradient,
            )  # fmt: skip
        self.step += 1
        values = report.values()
        self.averages.add(**values)
        return values

    def finish_epoch(self, seconds: float) -> None:
        """Record alpha (over its temperature, as the softmax takes it) and genotype after the epoch's last step."""
        self.steadying.end_epoch(self.epoch + 1)
        supernet, rates = self.supernet, [o.param_groups[0]["lr"] for o in self.optimizers]
        self.run.append(
            "epoch",
            epoch=self.epoch + 1,
            alphas=supernet.logits().detach().cpu().tolist(),
            genotype=str(supernet.genotype()),
            gammas=supernet.gammas(),
            **self.averages.means(),
            learning_rate=rates[0],
            alpha_learning_rate=rates[1],
            seconds=round(seconds, 3),
            images_per_second=round(2 * self.steps * self.config.batch_size / seconds, 2),
        )
        self.run.write_genotype(supernet.genotype())
        self.averages = loop.Averages()
        self.epoch, self.step = self.epoch + 1, 0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on."""
        return self.supernet.state_dict(), {
            "epoch": self.epoch,
            "step": self.step,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "memories": [memory.state_dict() for memory in self.memories],
            "averages": self.averages.state_dict(),
            "random": torch.get_rng_state(),
            "data": self.fingerprint,
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same configuration and data."""
        state = checkpoint.state
        loop.check_fingerprint(state["data"], self.fingerprint, self.run)
        self.supernet.load_state_dict(checkpoint.weights)
        for name in ("optimizers", "schedules", "memories"):
            for mine, saved in zip(getattr(self, name), state[name], strict=True):
                mine.load_state_dict(saved)
        self.averages.load_state_dict(state["averages"])
        torch.set_rng_state(state["random"])
        self.epoch, self.step = state["epoch"], state["step"]


def split_for(config: SearchConfig, dataset: ReidDataset) -> TwinSplit:
    """The twins split that a configuration describes."""
    table = loop.usable_identities(dataset.train, config)
    return twins_split(table, config.overlap, config.stratify_by_camera)


def optimizers(supernet: Supernet, config: SearchConfig) -> tuple[SGD, Adam]:
    """For the weights and for alpha."""
    return (
        SGD(supernet.weights(), config.learning_rate, config.momentum, weight_decay=config.weight_decay),
        Adam(
            [supernet.alphas], config.alpha_learning_rate, betas=(0.5, 0.999),
            weight_decay=config.alpha_weight_decay,
        ),
    )  # fmt: skip


def search(
    config: SearchConfig,
    folder: str | Path | RunFolder,
    *,
    dataset: ReidDataset | None = None,
    resume: bool = False,
    progress: bool = True,
    stop: loop.Stop | None = None,
) -> RunFolder:
    """Search an architecture, writing everything into a run folder, and give that back.

    `resume` goes on where the folder's last checkpoint stands (a finished run is left as it is).
    Ctrl-C, SIGTERM or `stop` save and raise `loop.Stopped`.
    """
    run = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    dataset = dataset or loop.open_dataset(config)
    stop = loop.Stop() if stop is None else stop  # one that is not set is false
    with run.writing(config, resume), stop.listening():
        worker = TwinSearch(config, dataset, run, progress)
        loop.begin(worker, run, resume)
        loop.run_epochs(worker, run, config, stop, progress, lambda epoch: None)
        run.log(f"search finished: {run.genotype()}")
    return run


def load_supernet(run: RunFolder) -> Supernet:
    """The supernet of a search run as its last checkpoint has it, in evaluation mode."""
    config = run.config()
    assert isinstance(config, SearchConfig)
    supernet = prepare(Supernet(config.channels, config.cell_width), config)
    checkpoint = run.checkpoint()
    weights = checkpoint.weights
    if weights["alphas"].shape != supernet.alphas.shape:
        raise ReidError(
            f"{str(run.path)!r} was searched with {weights['alphas'].shape[1]} operations, but {len(OPERATIONS)} are known "
            "here; register its own operations first (register_operation)"
        )
    supernet.load_state_dict(weights)
    supernet.temperature = temperature_at(config, max(0, checkpoint.state["epoch"] - 1))
    return supernet.eval()
