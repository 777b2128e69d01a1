"""What search and training share: device, seeds, schedules, data for a run, stopping, progress."""

from __future__ import annotations

import ctypes
import json
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, LinearLR, LRScheduler, MultiStepLR
from tqdm.auto import tqdm

from msinet_core import guards
from msinet_core.config import PAPER_WARMUP, RunConfig
from msinet_core.data.augment import Augmentation
from msinet_core.data.batches import TrainBatches
from msinet_core.data.images import open_images
from msinet_core.data.sampler import IdentitySampler
from msinet_core.data.sources import load_dataset
from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError, Stopped
from msinet_core.models.compiling import compile_network
from msinet_core.processes import ALONE, Processes
from msinet_core.runs import STATE, WEIGHTS, Checkpoint, Onlooker, RunFolder

STEP_LINES_PER_EPOCH = 20
SAME_REQUEST = 1.0  # seconds; a launcher hands on a Ctrl-C that its processes already had


def choose_device(name: str, processes: Processes = ALONE) -> torch.device:
    """`auto` takes a GPU if there is one, of several processes each its own; `ReidError` for a GPU that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ReidError("no usable GPU was found (--device cuda); use --device cpu or auto")
    if processes.device is not None:
        return processes.device
    return torch.device(name)


class Schedule:
    """A learning rate over time: ten stairs of linear warm-up from a hundredth, a tenth at every milestone.

    Time is counted in ticks, which are the paper's epochs: a shorter run passes several of them in one of
    its own, so that its rates are the paper's, scaled. `milestones` are ticks; a `warmup` takes ten.
    """

    def __init__(
        self, optimizer: Optimizer, milestones: tuple[int, ...], ticks_per_epoch: float = 1.0, warmup: bool = False
    ) -> None:
        steps: list[LRScheduler] = [MultiStepLR(optimizer, list(milestones), gamma=0.1)]
        if warmup:
            steps.append(LinearLR(optimizer, start_factor=0.01, total_iters=PAPER_WARMUP))
        self.ticks_per_epoch = ticks_per_epoch
        self.ticks, self.schedule = 0, ChainedScheduler(steps)

    def move_to(self, place: float) -> None:
        """Set the rates for the step at `place`, in epochs from the start; time only goes on."""
        with warnings.catch_warnings():  # of a tick before the first step, which short runs may have
            warnings.simplefilter("ignore")
            while self.ticks < int(place * self.ticks_per_epoch + 1e-9):
                self.schedule.step()
                self.ticks += 1

    def state_dict(self) -> dict[str, Any]:
        return {"ticks": self.ticks, "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ticks = state["ticks"]
        self.schedule.load_state_dict(state["schedule"])


def open_dataset(config: RunConfig) -> ReidDataset:
    """The data set that a configuration names."""
    if not config.root:
        raise ReidError("where is the data? Give its folder with --root")
    return load_dataset(config.data, config.root, **config.data_options)


def usable_identities(table: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Training images whose identities have enough of them; `ReidError` where that was not decided.

    One image makes no pair, so such identities have to be left out or kept on purpose.
    """
    if table.empty:
        raise ReidError("the data set has no training images; a manifest marks them with split 'train'")
    counts = table["identity"].value_counts()
    least = config.min_images
    if least is None:
        single = sorted(counts.index[counts < 2], key=str)
        if single:
            path = table.loc[table["identity"] == single[0], "path"].iloc[0]
            others = f" and {len(single) - 1} more" if len(single) > 1 else ""
            raise ReidError(
                f"identity {str(single[0])!r} ({path}){others} has one training image, which makes no pair; "
                "leave such identities out with --min-images 2, or keep them with --min-images 1"
            )
        return table
    return table[table["identity"].map(counts) >= least].reset_index(drop=True)


def training_batches(
    table: pd.DataFrame,
    root: Any,
    config: RunConfig,
    device: torch.device,
    *,
    seed: int,
    progress: bool,
    processes: Processes = ALONE,
) -> TrainBatches:
    """This process's augmented P x K batches of the images in `table`, labelled 0.. by sorted identity."""
    reader = open_images(
        table, root, config.height, config.width, cache=cache_of(config, processes), cache_dir=config.cache_dir,
        on_bad_image=config.on_bad_image, workers=worker_threads(config, device), progress=progress,
    )  # fmt: skip
    labels, _ = pd.factorize(reader.table["identity"], sort=True)
    cameras = reader.table["camera"]
    sampler = IdentitySampler(
        labels, config.identities_per_batch, config.images_per_identity, seed,
        cameras=cameras if config.different_cameras and cameras.nunique() > 1 else None,
        rank=processes.rank, world_size=processes.size,
    )  # fmt: skip
    if len(sampler) < config.accumulate:
        raise ReidError(
            f"a step accumulates {config.accumulate} batches, but an epoch has {len(sampler)} for each process; "
            "lower --accumulate or the size of a batch"
        )
    return TrainBatches(
        reader, labels, sampler, augmentation_of(config), device=device, seed=seed,
        workers=worker_threads(config, device),
    )


def cache_of(config: RunConfig, processes: Processes) -> str:
    """Several processes share one file of decoded images instead of each filling the memory."""
    return "disk" if config.cache == "auto" and processes.size > 1 else config.cache


def step_paths(batches: TrainBatches, epoch: int, step: int, accumulate: int) -> list[str]:
    """Paths of the images of all processes' batches in one step."""
    sampler, paths = batches.sampler, batches.reader.table["path"].to_numpy()
    first = step * accumulate * sampler.world_size
    chosen = sampler.everyones(epoch)[first : first + accumulate * sampler.world_size]
    return [str(path) for rows in chosen for path in paths[rows]]


def worker_threads(config: RunConfig, device: torch.device) -> int:
    """On a CPU a thread that prepares batches only takes the network's time."""
    if config.workers is not None:
        return config.workers
    return 4 if device.type == "cuda" else 0


def augmentation_of(config: RunConfig) -> Augmentation:
    if config.augmentation == "none":
        return Augmentation.none()
    within = config.augmentation == "within"
    if within:
        return Augmentation(pad=config.pad)
    return Augmentation(pad=config.pad, erase=0.0, brightness=0.4, contrast=0.4, saturation=0.3)


@contextmanager
def autocast(config: RunConfig, device: torch.device) -> Iterator[None]:
    """bf16 arithmetic where the configuration asks for it."""
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        yield


class Stop:
    """A request to stop at the next step: Ctrl-C, SIGTERM, or `stop()` from another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._asked = 0.0
        self.reason = ""

    def stop(self, reason: str = "asked to stop") -> None:
        self.reason, self._asked = reason, time.monotonic()
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Take the signals while inside; a second Ctrl-C, a second later or more, interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self  # only the main thread may set handlers
            return

        def handle(number: int, frame: Any) -> None:
            if self._event.is_set():
                if time.monotonic() - self._asked < SAME_REQUEST:
                    return
                raise KeyboardInterrupt
            self.stop(signal.Signals(number).name)

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Averages:
    """Running means of named values; their state goes into checkpoints."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        return {name: total / self.counts[name] for name, total in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])


class Progress:
    """One bar over all steps of a run, with an estimate of the time left, and a clock for speeds."""

    def __init__(self, epochs: int, steps: int, done: int, shown: bool, name: str) -> None:
        self.epochs, self.steps = epochs, steps
        self.bar = tqdm(
            total=epochs * steps, initial=done, desc=name, unit="step", disable=not shown, dynamic_ncols=True,
            smoothing=0.05,
        )  # fmt: skip
        self.started = time.perf_counter()

    def step(self, epoch: int, **values: float) -> None:
        shown = " ".join(f"{name} {value:.3g}" for name, value in values.items())
        self.bar.set_postfix_str(f"epoch {epoch}/{self.epochs} {shown}", refresh=False)
        self.bar.update()

    def restart_clock(self) -> float:
        """Seconds since the last call."""
        now = time.perf_counter()
        elapsed, self.started = now - self.started, now
        return elapsed

    def close(self) -> None:
        self.bar.close()


@contextmanager
def claimed(run: RunFolder, config: RunConfig, resume: bool, processes: Processes) -> Iterator[RunFolder]:
    """The run folder, claimed by the first process; the others get one that writes nothing."""
    with ExitStack() as stack:

        def claim() -> None:
            stack.enter_context(run.writing(config, resume))

        processes.lead(claim)
        yield run if processes.first else Onlooker(run.path)


def begin(worker: Any, run: RunFolder, resume: bool) -> None:
    """Bring `worker` and the history to the folder's last checkpoint, or to a clean start."""
    checkpoint = shared_checkpoint(run, worker.processes) if resume else None
    if checkpoint is None:
        worker.processes.lead(lambda: run.rewind_history(0))
        run.log("started")
        return
    guards.check_same_processes(checkpoint, worker.processes, run)
    guards.check_same_data(checkpoint.state, worker.data, run)
    try:
        worker.load(checkpoint)
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        raise ReidError(
            f"the checkpoint in {str(run.path)!r} was written by another version of msinet-core "
            f"({(str(error) or type(error).__name__).splitlines()[0]}); resume it with that version, or start a new run"
        ) from error
    worker.processes.lead(lambda: run.rewind_history(checkpoint.state["history_bytes"]))
    run.log(f"resumed in epoch {worker.epoch + 1} after step {worker.step}")


def shared_checkpoint(run: RunFolder, processes: Processes) -> Checkpoint | None:
    """The folder's last checkpoint, as the first process reads it, on all; None if there is none."""
    found: list[Checkpoint] = []

    def read() -> None:
        if run.has_checkpoint():
            found.append(run.checkpoint())

    processes.lead(read)
    if processes.size == 1:
        return found[0] if found else None
    files = found[0].files() if found else {}
    if not json.loads(processes.share(json.dumps(bool(files)).encode())):
        return None
    return Checkpoint.from_files({n: processes.share(files.get(n, b"")) for n in (WEIGHTS, STATE)}, str(run.path))


def save(worker: Any, run: RunFolder, *, finished: bool = False) -> None:
    """Write a checkpoint, once it is known to be sound and the same on all processes."""
    weights, state = worker.state()
    guards.require_finite_weights(weights)
    processes: Processes = worker.processes
    if processes.size > 1:
        processes.require_equal(guards.digest(weights, *worker.memory_rows()), "weights or memories")
    state["processes"] = processes.size
    processes.lead(lambda: run.save(weights, state, finished=finished))


def run_epochs(
    worker: Any, run: RunFolder, config: RunConfig, stop: Stop, progress: bool, after_epoch: Callable[[int], None]
) -> None:
    """Drive `worker` (a search or a training) from where it stands to its last epoch, saving as it goes.

    The worker has `epoch`, `step`, `steps`, `run_step()`, `finish_epoch(seconds)` and `state()`, and what
    `guards.break_down` needs. Raises `Stopped` after saving when `stop` is set on any process, and
    `ReidError` without saving when a loss is not finite.
    """
    progress = progress and worker.processes.first
    bar = Progress(config.epochs, worker.steps, worker.epoch * worker.steps + worker.step, progress, config.KIND)
    try:
        while worker.epoch < config.epochs:
            _run_epoch(worker, run, config, stop, bar)
            worker.finish_epoch(bar.restart_clock())
            after_epoch(worker.epoch)
            last = worker.epoch == config.epochs
            if last or worker.epoch % config.save_every == 0:
                save(worker, run, finished=last)
    except guards.NotFinite as error:
        raise guards.break_down(worker, run, error) from error
    finally:
        bar.close()


def _run_epoch(worker: Any, run: RunFolder, config: RunConfig, stop: Stop, bar: Progress) -> None:
    """The steps that are left of the current epoch."""
    every = max(1, worker.steps // STEP_LINES_PER_EPOCH)
    batches = worker.batches()
    while worker.step < worker.steps:
        values = worker.run_step(batches)
        bar.step(worker.epoch + 1, **{k: v for k, v in values.items() if k.endswith("loss")})
        if worker.step % every == 0:
            run.append("step", epoch=worker.epoch + 1, step=worker.step, **values)
        asked = worker.processes.any(bool(stop))
        if asked and not (worker.epoch + 1 == config.epochs and worker.step == worker.steps):
            save(worker, run)
            reason = stop.reason or "another process was asked to"
            run.log(f"stopped ({reason}) in epoch {worker.epoch + 1} after step {worker.step}")
            raise Stopped(reason)


def memory_format(model: nn.Module) -> nn.Module:
    """Channels last: what convolutions on CPUs and GPUs are fastest with."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def compile_if_asked(model: nn.Module, config: RunConfig, device: torch.device) -> None:
    """Compile the network for the batches that this run will bring, where `config.compile` asks for it."""
    if config.compile:
        images = torch.zeros(config.batch_size, 3, config.height, config.width, device=device)
        with autocast(config, device):
            compile_network(model, images.contiguous(memory_format=torch.channels_last))


def keep_freed_memory() -> bool:
    """Let the C library keep what was freed, instead of handing each large tensor back to the system.

    On a CPU a new large tensor otherwise costs a page fault for every 4 KB, time and again. Gives False
    where the library is not glibc; results never depend on it.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    one_arena, no_mapping, no_trimming = (-8, 1), (-3, 1 << 25), (-1, (1 << 31) - 1)
    return all(set_option(*option) == 1 for option in (one_arena, no_mapping, no_trimming))
