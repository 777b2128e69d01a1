"""What `test_processes.py` looks at, made once: `python processes_script.py PHOTOGRAPHS FOLDER`.

Pairs of processes are forked from this one, which has torch loaded (on Linux; `accelerate launch`,
as users do it, forks nothing), and are connected by gloo on the loopback interface. Each leaves
`NAME-RANK.pt` with what its scenario returns, or `NAME-RANK.txt` with what it raised.
"""

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

import accelerate  # loaded before the forks
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # of the tests
from common import StopAfter

from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.data import load_dataset, open_images
from msinet_core.errors import Stopped
from msinet_core.models import MSINet
from msinet_core.retrieval import Embedder
from msinet_core.runs.folder import Onlooker, RunFolder
from msinet_core.runs.processes import ALONE, join, leave
from msinet_core.runs.worker import Job
from msinet_core.search import TwinSearch, search
from msinet_core.space import PAPER_GENOTYPE
from msinet_core.training import train
from msinet_core.training.training import Training

assert accelerate.PartialState._shared_state == {}
STEPS = {"search": 4, "train": 2}  # at most; of a search the third is the first to move alpha
SETTINGS = {
    "height": 32,
    "width": 32,
    "channels": (16, 16, 16, 16),
    "epochs": 2,
    "identities_per_batch": 2,
    "images_per_identity": 2,
    "device": "cpu",
    "workers": 0,
    "cache": "memory",
    "augmentation": "none",
}


def steps(kind, root, folder, rank, **changes):
    """A few steps of a worker that is not saved; rank None is a process alone."""
    processes = ALONE if rank is None else join(cpu=True)
    dataset = load_dataset("manifest", root)
    make, work, own = {
        "search": (SearchConfig, TwinSearch, {"overlap": 1.0}),
        "train": (TrainConfig, Training, {"alignment": "pos"}),
    }[kind]
    config = make(**SETTINGS, root=str(root), **own, **changes)
    worker = work(Job(config, dataset, Onlooker(folder / "none"), processes=processes))
    batches = worker.batches()
    values = [worker.run_step(batches).read()]
    after_one = {name: value.clone() for name, value in worker.model.state_dict().items()}
    values += [worker.run_step(batches).read() for _ in range(min(STEPS[kind], worker.steps) - 1)]
    checkpoint = worker.checkpoint()
    return {
        "after_one": after_one,
        "weights": checkpoint.weights,
        "state": checkpoint.state,
        "values": values,
        "rows": [torch.tensor(b) for b in worker.train_batches.sampler.epoch(0)],
        "everyones": [torch.tensor(b) for b in worker.train_batches.sampler.everyones(0)],
    }


def whole_training(root, folder, rank, name="whole", stop=None, **changes):
    run = RunFolder(folder / name)
    config = TrainConfig(**SETTINGS, root=str(root), evaluate_every=1, **changes)
    train(config, run, progress=False, stop=stop, resume=run.exists)
    return {}


def stopped_and_resumed(root, folder, rank):
    """Only the second process is asked to stop; both do, and both go on."""
    with contextlib.suppress(Stopped):
        whole_training(root, folder, rank, "parts", stop=StopAfter(3 if rank == 1 else 1000))
    time.sleep(0.2 * rank)  # the first must have left the folder; it holds the lock
    return whole_training(root, folder, rank, "parts")


def whole_search(root, folder, rank):
    search(SearchConfig(**SETTINGS, root=str(root)), folder / "search", progress=False)
    return {}


def again(root, folder, rank):
    """A new run in a folder that holds one."""
    train(TrainConfig(**SETTINGS, root=str(root)), folder / "whole", progress=False)


def features(root, folder, rank, batch_size=3):
    processes = ALONE if rank is None else join(cpu=True)
    torch.manual_seed(0)
    model = MSINet(PAPER_GENOTYPE, 4, (16, 16, 16, 16)).eval()
    table = load_dataset("manifest", root).query
    reader = open_images(table.head(11), root, 32, 32, cache="memory")
    few = open_images(
        table.head(2), root, 32, 32, cache="memory"
    )  # one batch: nothing for the second process
    return {
        name: torch.from_numpy(
            Embedder(model, batch_size=batch_size, processes=processes).embed(images)
        )
        for name, images in (("many", reader), ("few", few))
    }


def with_signal(number, at):
    """A training in which one process gets a signal from itself during its third step."""

    def scenario(root, folder, rank):
        def strike():
            if rank == at:
                os.kill(os.getpid(), number)

        return whole_training(root, folder, rank, f"signal{number}-{at}", stop=StopAfter(3, strike))

    return scenario


def poisoned(root, folder, rank):
    """The second process alone has a loss that is no number."""
    source = sys.modules[train.__module__]  # where the loss is looked up
    true_loss = source.training_loss

    def loss(output, labels, **options):
        if rank == 1:
            output.global_logits.data.fill_(float("nan"))
        return true_loss(output, labels, **options)

    source.training_loss = loss
    return whole_training(root, folder, rank, "poisoned")


def pair(name, scenario, root, folder, timeout=60.0):
    """Run a scenario as two connected processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(
        WORLD_SIZE="2",
        LOCAL_WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        GLOO_SOCKET_IFNAME="lo",
        ACCELERATE_USE_CPU="true",
    )
    children = {}
    for rank in range(2):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        child = os.fork()
        if not child:
            one(name, scenario, root, folder, rank)
        children[child] = rank
    end = time.monotonic() + timeout
    while children and time.monotonic() < end:
        for child in list(children):
            if os.waitpid(child, os.WNOHANG)[0]:
                del children[child]
        time.sleep(0.01)
    for child in children:  # one that was stopped for good, or hangs
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def one(name, scenario, root, folder, rank):
    """In a forked process: carry out, write down, end."""
    began = time.monotonic()
    try:
        result = scenario(root, folder, rank)
        torch.save(result, folder / f"{name}-{rank}.pt")
        leave()
    except BaseException as error:  # whatever it is, the parent reads it
        (folder / f"{name}-{rank}.txt").write_text(
            f"{type(error).__name__} {time.monotonic() - began:.1f} {error}"
        )
    finally:
        os._exit(0)


def main():
    root, folder = Path(sys.argv[1]), Path(sys.argv[2])
    for kind in ("search", "train"):  # before the forks, as it loads what torch loads late
        for count in (2, 4):
            torch.save(
                steps(kind, root, folder, None, accumulate=count),
                folder / f"{kind}-alone-{count}.pt",
            )
    torch.save(
        steps("search", root, folder, None, accumulate=2, leak_validation_gradient=True),
        folder / "leak-alone.pt",
    )
    torch.save(features(root, folder, None), folder / "features-alone.pt")
    for kind in ("search", "train"):
        for name, changes in (("plain", {}), ("more", {"accumulate": 2})):
            pair(f"{kind}-{name}", lambda *a, k=kind, c=changes: steps(k, *a, **c), root, folder)
    pair("leak", lambda *a: steps("search", *a, leak_validation_gradient=True), root, folder)
    pair("features", features, root, folder)
    pair("whole", whole_training, root, folder)
    pair("search", whole_search, root, folder)
    pair("parts", stopped_and_resumed, root, folder)
    pair("again", again, root, folder)
    pair("poisoned", poisoned, root, folder)
    os.environ["MSINET_TIMEOUT"] = "3"
    for number, at in ((signal.SIGKILL, 1), (signal.SIGKILL, 0), (signal.SIGSTOP, 1)):
        pair(f"signal{int(number)}-{at}", with_signal(int(number), at), root, folder, timeout=15)


if __name__ == "__main__":
    main()
