"""Two processes over gloo on the loopback interface: equal states, each image once, and an end for
all.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from common import PROJECT, on_linux

from msinet_core import ReidError
from msinet_core.config import TrainConfig
from msinet_core.data import load_dataset
from msinet_core.retrieval import Embedder, evaluate
from msinet_core.retrieval.embedder import share_of
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.processes import ALONE, Processes, join
from msinet_core.training import load_network, train

pytestmark = on_linux
SCRIPT = Path(__file__).parent / "processes_script.py"


@pytest.fixture(scope="module")
def made(tiny_root, tmp_path_factory):
    """The folder in which the script left what its pairs of processes ended with."""
    folder = tmp_path_factory.mktemp("processes")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tiny_root), str(folder)],
        env=environment,
        timeout=400,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def left(folder, name):
    path = folder / f"{name}.pt"
    assert path.is_file(), (folder / f"{name}.txt").read_text()
    return torch.load(path, weights_only=True)


def flat(value):
    """All tensors and numbers in nested containers, in order."""
    if isinstance(value, dict):
        return [t for k in sorted(value, key=str) for t in flat(value[k])]
    if isinstance(value, list | tuple):
        return [t for part in value for t in flat(part)]
    return [value]


def same_bits(one, other):
    pairs = list(zip(flat(one), flat(other), strict=True))
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize(
    "name", ["search-plain", "search-more", "train-plain", "train-more", "leak"]
)
def test_all_that_the_next_step_depends_on_is_equal_on_both(made, name):
    first, second = (left(made, f"{name}-{rank}") for rank in range(2))
    for part in ("weights", "state", "values"):
        assert same_bits(first[part], second[part]), part
    assert not same_bits(first["rows"], second["rows"])  # though they saw other images


@pytest.mark.parametrize(
    "name, alone",
    [
        ("search-plain", "search-alone-2"),
        ("search-more", "search-alone-4"),
        ("leak", "leak-alone"),
        ("train-plain", "train-alone-2"),
        ("train-more", "train-alone-4"),
    ],
)
def test_two_processes_do_what_one_does_with_twice_the_batches(made, name, alone):
    """The order of sums differs. In a search that stays small; a second step of this small
    network's training makes percents of a part in 1e8 (batch norms over four images), whoever sums,
    so there the first one counts."""
    two, one = left(made, f"{name}-0"), left(made, alone)
    # these see one batch after the other
    averaged = ("running_mean", "running_var", "num_batches_tracked")
    for when, share in [("after_one", 2e-5)] + [("weights", 1e-3)] * ("memories" in two["state"]):
        for key, weight in two[when].items():
            if not key.endswith(averaged):
                other = one[when][key]
                # The floor is for biases born zero: some 1e-5 after a step, as sums of terms
                # rounded to 1e-7.
                tolerance = share * float(other.abs().max()) + 5e-7
                torch.testing.assert_close(
                    weight,
                    other,
                    rtol=0,
                    atol=tolerance,
                    msg=lambda text, key=key: f"{key}: {text}",
                )
    for step, (mine, theirs) in enumerate(zip(two["values"], one["values"], strict=True)):
        told = [key for key in mine if step == 0 or "loss" in key]
        assert [mine[key] for key in told] == pytest.approx([theirs[key] for key in told], rel=1e-4)
    if name == "search-plain":
        assert two["values"][-1]["alpha_gradient"] > 0
    if "memories" in two["state"]:
        for mine, theirs in zip(two["state"]["memories"], one["state"]["memories"], strict=True):
            torch.testing.assert_close(mine["rows"], theirs["rows"], rtol=1e-4, atol=1e-5)


def test_each_image_once_in_an_epoch(made):
    parts = [left(made, f"train-plain-{rank}") for rank in range(2)]
    rows = torch.cat([batch for part in parts for batch in part["rows"]]).tolist()
    assert sorted(rows) == list(range(64))
    everyones = parts[0]["everyones"]
    assert all(
        torch.equal(everyones[2 * s + r], parts[r]["rows"][s]) for r in range(2) for s in range(8)
    )


def test_features_are_put_together_in_order(made):
    alone = left(made, "features-alone")
    for rank in range(2):
        assert same_bits(left(made, f"features-{rank}"), alone)
    assert alone["many"].shape[0] == 11
    assert alone["few"].shape[0] == 2


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_whole_batches_and_cover_all(size):
    for count in (0, 1, 5, 12, 13):
        shares = [share_of(count, 4, Processes(rank, size)) for rank in range(size)]
        assert [row for share in shares for row in share] == list(range(count))
        assert all(share.start % 4 == 0 for share in shares if len(share))


def test_metrics_equal_those_of_one_process(made, tiny_root):
    run = RunFolder(made / "whole")
    found = run.metrics()
    expected = evaluate(
        Embedder(load_network(run), 32, 32), load_dataset("manifest", tiny_root)
    ).metrics()
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert len(run.epochs()) == 2
    # written by the first alone
    assert sum(line["kind"] == "evaluation" for line in run.lines()) == 2
    assert len(RunFolder(made / "search").epochs()) == 2


def test_a_stop_of_one_stops_both_and_resuming_gives_the_same_bits(made):
    for rank in range(2):
        left(made, f"parts-{rank}")
    whole, parts = RunFolder(made / "whole"), RunFolder(made / "parts")
    assert "stopped" in (parts.path / "log.txt").read_text()
    expected, found = whole.checkpoint(), parts.checkpoint()
    assert same_bits(expected.weights, found.weights)
    assert same_bits(expected.state["optimizer"], found.state["optimizer"])
    assert found.state["processes"] == 2


def test_another_number_of_processes_is_refused(made, tiny_root):
    run = RunFolder(made / "whole")
    with pytest.raises(
        ReidError, match=r"begun with 2 processes, and here are 1.*--num_processes 2"
    ):
        train(run.config(), run, resume=True, progress=False)


def test_what_the_first_process_refuses_ends_the_other(made):
    for rank, kind in ((0, "ReidError"), (1, "Elsewhere")):
        said = (made / f"again-{rank}.txt").read_text()
        assert said.startswith(kind)
        assert "already holds a run" in said


def test_a_loss_that_is_not_finite_on_one_process_stops_both(made):
    for rank in range(2):
        assert "not finite" in (made / f"poisoned-{rank}.txt").read_text()
    report = json.loads((made / "poisoned" / "failure.json").read_text())
    assert len(report["batch"]["train"]) == 8  # both processes' images
    assert not RunFolder(made / "poisoned").has_checkpoint()


@pytest.mark.parametrize("name, rank", [("signal9-1", 0), ("signal9-0", 1), ("signal19-1", 0)])
def test_a_killed_or_hanging_process_ends_the_other_with_a_clear_error(made, name, rank):
    said = (made / f"{name}-{rank}.txt").read_text()
    assert said.startswith("ReidError")
    assert f"process {rank} of 2 lost the others" in said
    assert float(said.split()[1]) < 10  # seconds; the limit was set to 3
    assert not (made / f"{name}-{1 - rank}.pt").exists()


def test_a_plain_process_is_alone_and_passes_everything_through(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join() is ALONE
    x = torch.randn(3, 2)
    assert ALONE.all_gather(x) is x
    assert ALONE.mean({"a": 0.1}) == {"a": 0.1}
    assert ALONE.broadcast(b"x") == b"x"
    assert ALONE.any(True) is True
    monkeypatch.setenv("WORLD_SIZE", "2")  # as some schedulers leave it in a plain process
    monkeypatch.delenv("RANK", raising=False)
    assert join() is ALONE


def test_more_accumulation_than_an_epoch_has_batches(tiny_settings, tmp_path):
    with pytest.raises(ReidError, match="accumulates 99 batches, but an epoch has 16"):
        train(TrainConfig(**tiny_settings, accumulate=99), tmp_path / "run", progress=False)


def test_accelerate_launch(tiny_root, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        str(port),
        "-m",
        "msinet_core.cli",
        "train",
        "--root",
        str(tiny_root),
        "--run",
        str(tmp_path / "run"),
        "--height",
        "32",
        "--width",
        "32",
        "--channels",
        "16",
        "16",
        "16",
        "16",
        "--epochs",
        "1",
        "--identities-per-batch",
        "4",
        "--images-per-identity",
        "4",
        "--device",
        "cpu",
        "--cache",
        "memory",
        "--quiet",
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(PROJECT),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    done = subprocess.run(
        words,
        env=environment,
        cwd=tmp_path,
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("mAP") == 1, done.stdout  # the first alone prints
    run = RunFolder(tmp_path / "run")
    assert run.finished
    assert run.checkpoint().state["processes"] == 2


LISTENING = """
import psutil, os
from datetime import timedelta
from msinet_core.runs.processes import _on_loopback
store = _on_loopback(timedelta(seconds=10))["store"]
places = [c.laddr.ip for c in psutil.Process().net_connections() if c.status == "LISTEN"]
print(places, os.environ["GLOO_SOCKET_IFNAME"])
"""


def test_told_to_meet_on_loopback_nothing_listens_elsewhere():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "RANK": "0", "WORLD_SIZE": "2"}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment.pop("GLOO_SOCKET_IFNAME", None)
    words = [sys.executable, "-c", LISTENING]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout == "['127.0.0.1'] lo\n", done.stderr
