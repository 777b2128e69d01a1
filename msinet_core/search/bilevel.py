"""The bilevel search step with twin memories, and the search that repeats it (paper: section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from msinet_core import guards, loop
from msinet_core.config import PAPER_ALPHA_MILESTONES, SearchConfig
from msinet_core.data.table import ReidDataset
from msinet_core.data.twins import TwinSplit, twins_split
from msinet_core.errors import ReidError
from msinet_core.models.supernet import Supernet
from msinet_core.processes import ALONE, Processes, join
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
    train: Batch | list[Batch],
    validation: Batch | list[Batch] | None,
    *,
    leak_validation_gradient: bool = False,
    processes: Processes = ALONE,
) -> StepReport:
    """One first-order step: alpha on the validation twin, then the weights on the train twin.

    The validation loss is differentiated with respect to alpha only and the train loss with
    respect to the weights only, so that validation identities never train the weights. With
    `leak_validation_gradient` the validation loss's gradient is added to the weights' one, as the
    authors' code does. Without a validation batch only the weights move (first step of an epoch).

    Of a list of batches, and of the batches of several `processes`, gradients are averaged; the
    memories take in all of them afterwards, in order. A loss that is not finite raises
    `guards.NotFinite` before it has moved anything.
    """
    weights = supernet.weights()
    validation_loss = alpha_gradient = None
    leaked: Sequence[Tensor | None] = [None] * len(weights)
    if validation is not None:
        wanted = [supernet.alphas, *weights] if leak_validation_gradient else [supernet.alphas]
        validation_loss, (gradient, *rest), seen = _gradients(supernet, validation_memory, validation, wanted)
        assert gradient is not None
        processes.average([gradient])
        supernet.alphas.grad = gradient
        alpha_gradient = float(gradient.norm())
        checked = processes.mean({"validation_loss": validation_loss, "alpha_gradient": alpha_gradient})
        guards.require_finite(checked)
        validation_loss = checked["validation_loss"]
        alpha_optimizer.step()
        supernet.alphas.grad = None
        _remember(validation_memory, seen, processes)
        leaked = rest or leaked
    train_loss, gradients, seen = _gradients(supernet, train_memory, train, weights)
    for weight, own, other in zip(weights, gradients, leaked, strict=True):
        weight.grad = own if other is None or own is None else own + other
    moved = [w.grad for w in weights if w.grad is not None]
    processes.average([*moved, *(buffer for buffer in supernet.buffers() if buffer.is_floating_point())])
    weight_gradient = float(nn.utils.get_total_norm(moved))
    train_loss = processes.mean({"train_loss": train_loss})["train_loss"]
    report = StepReport(train_loss, validation_loss, alpha_gradient, weight_gradient)
    guards.require_finite(report.values())
    weight_optimizer.step()
    weight_optimizer.zero_grad()
    _remember(train_memory, seen, processes)
    return report


def _gradients(
    supernet: Supernet, memory: ContrastiveMemory, batches: Batch | list[Batch], wanted: Sequence[Tensor]
) -> tuple[float, list[Tensor | None], list[Batch]]:
    """Mean loss of the batches, its gradient by each tensor wanted, and each batch's features and labels."""
    batches = batches if isinstance(batches, list) else [batches]
    losses: list[Tensor] = []
    total: list[Tensor | None] = [None] * len(wanted)
    seen: list[Batch] = []
    for images, labels in batches:
        features = supernet(images)
        loss = memory.loss(features, labels)
        part = torch.autograd.grad(loss if len(batches) == 1 else loss / len(batches), wanted, allow_unused=True)
        total = [new if old is None else old if new is None else old + new for old, new in zip(total, part, strict=True)]
        losses.append(loss.detach())
        seen.append((features.detach(), labels))
    return float(losses[0] if len(losses) == 1 else torch.stack(losses).mean()), total, seen


def _remember(memory: ContrastiveMemory, seen: list[Batch], processes: Processes) -> None:
    """Move the memory by all processes' features, in the order of ranks."""
    for features, labels in seen:
        memory.update(processes.stack(features), processes.stack(labels))


class TwinSearch:
    """A search in progress: supernet, both optimisers and schedules, both memories, and its place.

    `epoch` epochs are done and `step` steps of the next; every batch follows from the seed and
    that place, so a checkpoint needs nothing else of the data.
    """

    def __init__(
        self,
        config: SearchConfig,
        dataset: ReidDataset,
        run: RunFolder,
        progress: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        self.config, self.run, self.processes = config, run, processes
        self.device = loop.choose_device(config.device, processes)
        self.split = split_for(config, dataset)
        self.train_batches, self.validation_batches = (
            loop.training_batches(
                side, dataset.root, config.for_validation() if place else config, self.device,
                seed=2 * config.seed + place, progress=progress, processes=processes,
            )
            for place, side in enumerate((self.split.train, self.split.validation))
        )
        halves = self.split.train, self.split.validation
        self.data = {"data": guards.fingerprint(*halves), "files": guards.file_sizes(dataset.root, *halves)}
        torch.manual_seed(config.seed)
        self.supernet = prepare(Supernet(config.channels, config.cell_width), config).to(self.device).train()
        loop.memory_format(self.supernet)
        loop.compile_if_asked(self.supernet, config, self.device)
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
        self.steps = len(self.train_batches) // config.accumulate

    def batches(self) -> Iterator[tuple[list[Batch], list[Batch] | None]]:
        """For each step left of the current epoch: train batches and, but for the first, validation batches."""
        count = self.config.accumulate
        validation = self._validation_from(self._validation_steps(self.step) * count)
        train = self.train_batches.epoch(self.epoch, self.step * count)
        for step in range(self.step, self.steps):
            own = [(images, labels) for images, labels, _ in islice(train, count)]
            yield own, None if step == 0 else list(islice(validation, count))

    def _validation_steps(self, step: int) -> int:
        """Steps with a validation half before step `step` of the current epoch, of all epochs."""
        return self.epoch * (self.steps - 1) + max(0, step - 1)

    def _validation_from(self, count: int) -> Iterator[Batch]:
        """Validation batches in endless epochs, entered after `count` of them."""
        epoch, start = divmod(count, len(self.validation_batches))
        while True:
            for images, labels, _ in self.validation_batches.epoch(epoch, start):
                yield images, labels
            epoch, start = epoch + 1, 0

    def run_step(self, batches: Iterator[tuple[list[Batch], list[Batch] | None]]) -> dict[str, float]:
        train, validation = next(batches)
        if not self.steadying.begin_step(self.epoch, self.step):
            validation = None
        for schedule in self.schedules:
            schedule.move_to(self.epoch + self.step / self.steps)
        with loop.autocast(self.config, self.device):
            report = bilevel_step(
                self.supernet, *self.optimizers, self.memories[0], self.memories[1], train, validation,
                leak_validation_gradient=self.config.leak_validation_gradient, processes=self.processes,
            )  # fmt: skip
        self.step += 1
        values = report.values()
        self.averages.add(**values)
        return values

    @property
    def model(self) -> Supernet:
        return self.supernet

    @property
    def step_images(self) -> int:
        """Images in one half of a step, of all processes."""
        return self.config.batch_size * self.config.accumulate * self.processes.size

    def rates(self) -> list[float]:
        return [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]

    def batch_paths(self) -> dict[str, list[str]]:
        """The images of the step that is next or under way, of all processes."""
        count = self.config.accumulate
        paths = {"train": loop.step_paths(self.train_batches, self.epoch, self.step, count)}
        if self.step:
            place = self._validation_steps(self.step) * count
            paths["validation"] = [
                path
                for at in range(place, place + count)
                for path in loop.step_paths(self.validation_batches, *divmod(at, len(self.validation_batches)), 1)
            ]
        return paths

    def memory_rows(self) -> list[Tensor]:
        return [memory.rows for memory in self.memories]

    def finish_epoch(self, seconds: float) -> None:
        """Record alpha (over its temperature, as the softmax takes it) and genotype after the epoch's last step."""
        self.steadying.end_epoch(self.epoch + 1)
        supernet, rates = self.supernet, self.rates()
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
            images_per_second=round(2 * self.steps * self.step_images / seconds, 2),
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
            **self.data,
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same configuration and data."""
        state = checkpoint.state
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
    processes = join(config.device == "cpu")
    run = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    dataset = dataset or loop.open_dataset(config)
    stop = loop.Stop() if stop is None else stop  # one that is not set is false
    with loop.claimed(run, config, resume, processes) as mine, stop.listening():
        worker = TwinSearch(config, dataset, mine, progress and processes.first, processes)
        loop.begin(worker, mine, resume)
        loop.run_epochs(worker, mine, config, stop, progress, lambda epoch: None)
        mine.log(f"search finished: {run.genotype()}")
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
