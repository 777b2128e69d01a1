"""The command line: help, the main job, and one clear error for bad input."""

import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from common import TINY, Attack, flags
from PIL import Image

from msinet_core.cli import main
from msinet_core.retrieval import open_store
from msinet_core.runs.folder import RunFolder

NOTHING_DONE, FAILED, STOPPED = 0, 2, 130


@pytest.fixture
def manifest(tmp_path):
    """A writable copy of a small data set; gives (root, table, write)."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    rows = []
    root.mkdir()
    for identity in range(8):
        for number in range(4):
            path = f"{identity}_{number}.png"
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(root / path)
            split = "train" if identity < 5 else "query" if number == 0 else "gallery"
            rows.append(
                {"path": path, "identity": f"p{identity}", "camera": number % 2, "split": split}
            )

    def write(table):
        table.to_csv(root / "manifest.csv", index=False)
        return root

    table = pd.DataFrame(rows)
    write(table)
    return root, table, write


def arguments(command, root, run, *more):
    words = [command, "--root", str(root), "--run", str(run), *flags({**TINY, "epochs": 1})]
    return [*words, "--quiet", *more]


def failure(capsys, words):
    """The one line of error that a command ends in."""
    assert main(words) == FAILED
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert "Traceback" not in "\n".join(lines)
    return errors[0]


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["data"], ["data", "--help"], ["train", "--help"], ["--version"]]
)
def test_help(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    assert "msinet" in capsys.readouterr().out


def test_unknown_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "dance" in said
    assert "diagnose" in said  # what there is instead


def test_search_then_train_with_the_found_genotype_then_evaluate(manifest, tmp_path, capsys):
    root, _, _ = manifest
    assert main(arguments("search", root, tmp_path / "s")) == 0
    assert "genotype" in capsys.readouterr().out
    assert main(arguments("train", root, tmp_path / "t", "--genotype", str(tmp_path / "s"))) == 0
    assert "mAP" in capsys.readouterr().out
    assert RunFolder(tmp_path / "t").genotype() == RunFolder(tmp_path / "s").genotype()
    words = [
        "evaluate",
        "--run",
        str(tmp_path / "t"),
        "--device",
        "cpu",
        "--on",
        f"manifest={root}",
    ]
    assert main([*words, "--save", str(tmp_path / "results")]) == 0
    assert "mAP" in capsys.readouterr().out
    assert any((tmp_path / "results").iterdir())


def test_export_and_embed_give_the_same_features(manifest, tmp_path, capsys):
    root, _, _ = manifest
    plain = "-".join(["none"] * 12)  # torch takes its time over every further operation
    assert main(arguments("train", root, tmp_path / "t", "--genotype", plain)) == 0
    assert main(["export", "--run", str(tmp_path / "t"), "--to", str(tmp_path / "theirs.pth")]) == 0
    assert main(["export", "--run", str(tmp_path / "t"), "--to", str(tmp_path / "x.onnx")]) == 0
    stores = []
    for name, model in (("a", tmp_path / "t"), ("b", tmp_path / "x.onnx")):
        words = [
            "embed",
            "--model",
            str(model),
            "--root",
            str(root),
            "--to",
            str(tmp_path / name),
            "--device",
            "cpu",
        ]
        assert main(words) == 0
        stores.append(open_store(tmp_path / name).features)
    assert (
        np.abs(stores[0] - stores[1]).max() < 1e-4 * np.abs(stores[0]).max()
    )  # as export promises
    assert "x.bin" in failure(capsys, ["export", "--run", str(tmp_path / "t"), "--to", "x.bin"])


def test_missing_root(tmp_path, capsys):
    assert "absent" in failure(capsys, arguments("train", tmp_path / "absent", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_no_root(tmp_path, capsys):
    assert "--root" in failure(capsys, ["train", "--run", str(tmp_path / "run")])


@pytest.mark.parametrize(
    "split, word", [("train", "training images"), ("query", "query"), ("gallery", "gallery")]
)
def test_empty_split(manifest, tmp_path, capsys, split, word):
    root, table, write = manifest
    write(table[table["split"] != split])
    assert word in failure(capsys, arguments("train", root, tmp_path / "run"))


def test_manifest_without_a_column(manifest, tmp_path, capsys):
    root, table, write = manifest
    write(table.drop(columns="identity"))
    assert "identity" in failure(capsys, arguments("train", root, tmp_path / "run"))


@pytest.mark.parametrize("broken", ["missing", "unreadable"])
def test_bad_image(manifest, tmp_path, capsys, broken):
    root, _, _ = manifest
    if broken == "missing":
        (root / "1_2.png").unlink()
    else:
        (root / "1_2.png").write_bytes(b"\x89PNG no picture")
    assert "1_2.png" in failure(capsys, arguments("train", root, tmp_path / "run"))
    assert main(arguments("train", root, tmp_path / "skipped", "--on-bad-image", "skip")) == 0


def test_an_identity_of_one_image(manifest, tmp_path, capsys):
    root, table, write = manifest
    write(table[(table["identity"] != "p1") | (table["path"] == "1_0.png")])
    for command in ("search", "train"):
        message = failure(capsys, arguments(command, root, tmp_path / command))
        assert "'p1'" in message
        assert "--min-images 2" in message


def test_fewer_identities_than_a_batch_needs(manifest, tmp_path, capsys):
    root, _, _ = manifest
    message = failure(
        capsys, arguments("train", root, tmp_path / "run", "--identities-per-batch", "9")
    )
    assert "9" in message
    assert "5" in message


def test_no_match_in_another_camera_before_training(manifest, tmp_path, capsys):
    root, table, write = manifest
    write(table.assign(camera=1))
    message = failure(capsys, arguments("train", root, tmp_path / "run"))
    assert "another camera" in message
    assert not (tmp_path / "run").exists()


def test_bad_genotypes(manifest, tmp_path, capsys):
    root, _, _ = manifest
    run = tmp_path / "run"
    message = failure(capsys, arguments("train", root, run, "--genotype", "-".join(["gate"] * 12)))
    assert "unknown operation 'gate'" in message
    message = failure(capsys, arguments("train", root, run, "--genotype", "-".join(["none"] * 11)))
    assert "11 were given" in message


def test_checkpoints_that_cannot_be_used(manifest, tmp_path, capsys, monkeypatch):
    root, _, _ = manifest
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "x": Attack()}, "evil.pth")
    assert "foreign code" in failure(
        capsys, arguments("train", root, tmp_path / "run", "--weights", "evil.pth")
    )
    assert not (tmp_path / "attacked").exists()
    assert main(arguments("train", root, tmp_path / "first")) == 0
    other = arguments(
        "train",
        root,
        tmp_path / "other",
        "--weights",
        str(tmp_path / "first"),
        "--genotype",
        "-".join(["none"] * 12),
    )
    assert main(other) == 0  # a subset of the parameters fits
    wrong = arguments(
        "train",
        root,
        tmp_path / "wrong",
        "--weights",
        str(tmp_path / "first"),
        "--backbone",
        "resnet18",
    )
    capsys.readouterr()
    assert "give weights of the same kind of network" in failure(capsys, wrong)


def test_resume_refuses_another_configuration_and_takes_up_the_stored_one(
    manifest, tmp_path, capsys
):
    root, _, _ = manifest
    run = tmp_path / "run"
    assert main(arguments("train", root, run)) == 0
    message = failure(capsys, ["train", "--run", str(run), "--resume", "--learning-rate", "0.5"])
    assert "learning_rate was 0.065, now 0.5" in message
    assert main(["train", "--run", str(run), "--resume", "--quiet"]) == 0
    assert "msinet train" in failure(capsys, ["search", "--run", str(run), "--resume"])
    assert "already holds a run" in failure(capsys, arguments("train", root, run))
    assert "not a run folder" in failure(
        capsys, ["train", "--run", str(tmp_path / "none"), "--resume"]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on_from_there(manifest, tmp_path, number):
    root, _, _ = manifest
    run = RunFolder(tmp_path / "run")
    words = arguments("search", root, run.path)
    words[words.index("--epochs") + 1] = "300"
    process = subprocess.Popen(
        [sys.executable, "-m", "msinet_core.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for _ in range(600):
        if len(run.epochs()) or process.poll() is not None:
            break
        time.sleep(0.1)
    assert run.writer_pid() == process.pid
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == STOPPED, output
    assert "--resume" in output
    assert run.has_checkpoint()
    assert run.writer_pid() is None
    assert run.checkpoint().state["epoch"] >= 1
