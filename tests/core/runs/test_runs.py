"""The run folder: atomic, complete, guarded."""

import copy
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from common import on_posix, save

from msinet_core import Genotype, ReidError
from msinet_core.config import SearchConfig, TrainConfig, config_from_dict, read_genotype
from msinet_core.runs import checkpoints
from msinet_core.runs.checkpoints import load_optimizer
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.processes import ALONE
from msinet_core.runs.resuming import begin

CONFIG = TrainConfig(epochs=3)
BOTH = ["last", "previous"]


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


def test_configurations_survive_json():
    for config in (CONFIG, SearchConfig(overlap=0.5, milestones=(2, 5), options=("a=1",))):
        assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"epochs": 0}, "epochs must be positive"),
        ({"height": 16}, "too small"),
        ({"images_per_identity": 1}, "images_per_identity"),
        ({"milestones": (5, 2)}, "milestones must rise"),
        ({"channels": (16, 64, 66, 64)}, "multiples of 4"),
        ({"learning_rate": -1.0}, "must not be negative"),
        ({"max_gradient_norm": 0.0}, "max_gradient_norm must be positive"),
    ],
)
def test_configurations_are_checked_when_made(changes, message):
    with pytest.raises(ReidError, match=message):
        TrainConfig(**changes)


def test_unknown_fields_and_kinds_are_refused():
    with pytest.raises(ReidError, match="spoon"):
        config_from_dict({"kind": "train", "spoon": 1})
    with pytest.raises(ReidError, match="kind 'dance'"):
        config_from_dict({"kind": "dance"})


def test_the_papers_schedule_scales_with_the_epochs():
    for epochs in (350, 30, 700):
        config = TrainConfig(epochs=epochs)
        assert config.milestone_ticks(config.milestones) == (150, 225, 300)
        assert config.ticks_per_epoch == pytest.approx(350 / epochs)
    own = TrainConfig(epochs=30, milestones=(7,), warmup_epochs=2)
    assert own.ticks_per_epoch == 5
    assert own.milestone_ticks(own.milestones) == (35,)
    without = TrainConfig(epochs=35, milestones=(7,), warmup_epochs=0)
    assert without.milestone_ticks(without.milestones) == (70,)


def test_checkpoint_round_trip(run):
    with run.writing(CONFIG):
        run.append("step", loss=1.0)
        save(run, 1)
        run.append("step", loss=2.0)
        save(run, 2, finished=True)
    checkpoint = run.checkpoint()
    assert checkpoint.weights["w"].tolist() == [2, 2, 2]
    assert checkpoint.state["epoch"] == 2
    assert checkpoint.state["history_bytes"] == (run.path / "history.jsonl").stat().st_size
    assert run.finished
    names = sorted(path.name for path in (run.path / "checkpoints").iterdir())
    assert names == ["last", "previous"]


@pytest.mark.parametrize("moment", ["after writing", "between the renames"])
def test_a_kill_while_saving_leaves_the_previous_checkpoint(run, moment):
    with run.writing(CONFIG):
        save(run, 1)
    folder = run.path / "checkpoints"
    if moment == "after writing":
        (folder / "writing").mkdir()
        (folder / "writing" / "weights.safetensors").write_bytes(b"half")
    else:
        (folder / "last").rename(folder / "previous")
    assert run.checkpoint().state["epoch"] == 1
    with run.writing(CONFIG, resume=True):
        save(run, 2)
    assert run.checkpoint().state["epoch"] == 2


def test_a_kill_while_the_one_before_goes_leaves_two_whole_ones(run, monkeypatch):
    class Killed(BaseException):
        pass

    def half(folder, **_):
        if folder.is_dir():
            (folder / "weights.safetensors").unlink()
            raise Killed

    folder = run.path / "checkpoints"
    with run.writing(CONFIG):
        for value in (1, 2):
            save(run, value)
        with monkeypatch.context() as patched:
            patched.setattr(checkpoints.shutil, "rmtree", half)
            with pytest.raises(Killed):
                save(run, 3)
        assert [checkpoints.read_checkpoint(folder / name).state["epoch"] for name in BOTH] == [
            3,
            2,
        ]
        save(run, 4)
    assert sorted(path.name for path in folder.iterdir()) == BOTH


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt"])
@pytest.mark.parametrize("damage", ["truncate", "alter", "remove"])
def test_damaged_checkpoints_are_named(run, name, damage):
    with run.writing(CONFIG):
        save(run, 1)
    path = run.path / "checkpoints" / "last" / name
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(
            content[: len(content) // 2] if damage == "truncate" else content[:-1] + b"!"
        )
    with pytest.raises(ReidError, match=f"{name}.*truncated or was altered"):
        run.checkpoint()


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "checkpoint.json"])
def test_where_the_last_checkpoint_is_damaged_the_one_before_is_taken(run, name):
    with run.writing(CONFIG):
        for value in (1, 2):
            save(run, value)
    (run.path / "checkpoints" / "last" / name).unlink()
    with pytest.warns(UserWarning, match=f"{name}.*the checkpoint before it is taken"):
        assert run.checkpoint().state["epoch"] == 1
    with run.writing(CONFIG, resume=True):
        with pytest.warns(UserWarning, match="damaged|altered"):
            run.checkpoint()
        save(run, 3)  # the damaged one has not become the one before
    (run.path / "checkpoints" / "last" / name).unlink()
    with pytest.warns(UserWarning, match=name):
        assert run.checkpoint().state["epoch"] == 1


@on_posix
@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["garbage", "pipe", "endless", "blown up"])
def test_however_it_is_damaged(run, name, damage):
    with run.writing(CONFIG):
        for value in (1, 2):
            save(run, value, finished=value == 2)
    path = run.path / "checkpoints" / "last" / name
    if damage == "garbage":
        path.write_bytes(b"{" * 100)
    elif damage == "blown up":
        os.truncate(path, 1 << 34)  # takes no room on the disk
    else:
        path.unlink()
        _ = os.mkfifo(path) if damage == "pipe" else path.symlink_to("/dev/zero")
    assert run.finished == (name != "checkpoint.json")
    with pytest.warns(UserWarning, match="the checkpoint before it is taken"):
        assert run.checkpoint().state["epoch"] == 1


def sgd(*shapes):
    weights = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    return torch.optim.SGD(weights, 0.1, momentum=0.9, fused=True)


def test_an_optimisers_state_is_of_its_weights():
    one = sgd((3, 4), (5,))
    for group in one.param_groups:
        for weight in group["params"]:
            weight.grad = torch.ones_like(weight)
    one.step()
    good = one.state_dict()
    load_optimizer(sgd((3, 4), (5,)), good)
    for damage in (
        lambda state: state["state"][0].update(momentum_buffer=torch.ones(3)),
        lambda state: state["state"][0].update(momentum_buffer=torch.ones(3, 4).to_sparse()),
        lambda state: state["state"][0].update(momentum_buffer=torch.ones(3, 4).long()),
        lambda state: state["state"][0].update(momentum_buffer="x"),
        lambda state: state["state"][0].update(momentum_buffer=None),
        lambda state: state["state"].update({7: state["state"].pop(0)}),
        lambda state: state["param_groups"][0].update(params=[0]),
        lambda state: state["param_groups"][0].update(momentum=None),
        lambda state: state["param_groups"][0].update(lr="fast"),
        lambda state: state.update(param_groups=[]),
    ):
        state = copy.deepcopy(good)
        damage(state)
        with pytest.raises(ReidError, match=r"optimiser's state .* is of other weights"):
            load_optimizer(sgd((3, 4), (5,)), state)


def test_half_written_last_line_is_left_out(run):
    with run.writing(CONFIG):
        run.append("epoch", epoch=1)
    path = run.path / "history.jsonl"
    length = path.stat().st_size
    with path.open("a") as file:
        file.write('{"kind": "epo')
    assert [line["epoch"] for line in run.lines()] == [1]
    run.rewind_history(length)
    assert path.stat().st_size == length
    with pytest.raises(ReidError, match="shorter than its checkpoint"):
        run.rewind_history(length + 1)


def test_damaged_history_line_is_named(run):
    with run.writing(CONFIG):
        run.append("epoch", epoch=1)
    (run.path / "history.jsonl").write_text('{"kind": \n{"kind": "epoch"}\n')
    with pytest.raises(ReidError, match="line 1"):
        run.lines()


def test_other_configuration_is_refused_with_the_fields_named(run):
    with run.writing(CONFIG):
        pass
    other = TrainConfig(epochs=2, learning_rate=0.1, workers=7)
    with (
        pytest.raises(ReidError, match=r"epochs was 3, now 2; learning_rate was 0.065, now 0.1"),
        run.writing(other, resume=True),
    ):
        pass
    with run.writing(TrainConfig(epochs=3, workers=7), resume=True):
        pass


def test_an_existing_run_is_not_overwritten(run):
    with run.writing(CONFIG):
        pass
    with run.writing(CONFIG):  # nothing was done yet
        run.append("step", loss=1.0)
    with pytest.raises(ReidError, match="already holds a run"), run.writing(CONFIG):
        pass


def test_a_folder_in_use_is_refused_and_freed_by_a_kill(run, tmp_path):
    code = (
        "import sys, time\n"
        "from msinet_core.config import TrainConfig\nfrom msinet_core.runs import RunFolder\n"
        f"with RunFolder({str(run.path)!r}).writing(TrainConfig(epochs=3)):\n"
        "    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "ready\n"
        assert run.writer_pid() == other.pid
        with (
            pytest.raises(ReidError, match=f"in use by process {other.pid}"),
            run.writing(CONFIG, resume=True),
        ):
            pass
    finally:
        other.kill()
        other.wait()
    assert run.writer_pid() is None
    with run.writing(CONFIG, resume=True):
        assert run.path.joinpath("pid").read_text() == str(os.getpid())


def test_folders_of_another_version_and_no_folders(run, tmp_path):
    with pytest.raises(ReidError, match="not a run folder"):
        run.config()
    run.path.mkdir()
    (run.path / "config.json").write_text(json.dumps({"format": 0, **CONFIG.to_dict()}))
    with pytest.raises(ReidError, match="another version"):
        run.config()
    (run.path / "config.json").write_text("{")
    with pytest.raises(ReidError, match="not JSON"):
        run.config()


def test_genotypes_from_text_file_and_folder(run):
    genotype = Genotype.uniform("exchange")
    with run.writing(CONFIG):
        with pytest.raises(ReidError, match="no genotype yet"):
            read_genotype(str(run.path))
        run.write_genotype(genotype)
    for text in (str(run.path), str(run.path / "genotype.json"), str(genotype)):
        assert read_genotype(text) == genotype
    with pytest.raises(ReidError, match="no genotype file"):
        read_genotype(str(run.path / "absent.json"))


@on_posix
def test_read_only_folder(tmp_path):
    if os.getuid() == 0:
        target = tmp_path / "file"
        target.write_text("")
        folder = RunFolder(target / "run")
    else:
        tmp_path.chmod(0o500)
        folder = RunFolder(tmp_path / "run")
    with pytest.raises(ReidError, match=r"cannot write|is a file"), folder.writing(CONFIG):
        pass


@pytest.mark.parametrize("value", ["two", None, [2]])
def test_a_state_of_other_types_is_one_sentence(run, value):
    with run.writing(CONFIG):
        run.save({"w": torch.ones(3)}, {"epoch": 1, "processes": value}, finished=False)
    with pytest.raises(ReidError, match="or altered"):
        begin(SimpleNamespace(run=run, processes=ALONE), resume=True)
