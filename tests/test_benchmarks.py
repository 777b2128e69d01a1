"""What the benchmarks can be held to without measuring anything: that they run, and say what they
lack.
"""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from common import PROJECT

from benchmarks import gpu
from benchmarks._rows import row, verdict
from benchmarks.soak import MOST_MB_PER_MINUTE, steady_slope

# Not on a machine with a GPU, which has the core's packages alone.
ABSENT = ("tyro", "pytorch_grad_cam", "ipywidgets", "IPython", "anywidget", "seaborn", "sklearn")
GPU_PATH = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
import json, pathlib, torch
from benchmarks import gpu
few = dict(queries=60, gallery=400, identities=20, cameras=3)
size = gpu.Size(
    height=32, width=32, batches=(8, 16), large_batch=16, images=160, identities=8, epochs=2,
    steps=2, embedded=40, retrieval=few, market=few, channels=(16,) * 4, processes=1,
)
names = "search", "retrieval", "embed", "train", "recipe", "train-plain", "memory"
parts = dict((name, gpu.PARTS[name]) for name in names)
rows = gpu.measure(torch.device("cpu"), size, pathlib.Path(sys.argv[1]), parts)
print(json.dumps(list(rows)))
print(json.dumps(list(gpu.measure(torch.device("cpu"), size, pathlib.Path(sys.argv[1]),
                                  parts, minutes=0))))
"""


def test_the_gpu_path_runs_on_a_cpu_and_with_the_core_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", GPU_PATH, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    measured, skipped = map(json.loads, done.stdout.splitlines()[-2:])
    assert not [line["name"] for line in measured if "failed" in line["name"]]
    rows = {line["name"]: line for line in measured}
    positive = {name for name, line in rows.items() if line["figure"] > 0}
    for words in (
        *("train, 32 x 32, batch 8, no flags", "search, 32 x 32, batch 8, no flags"),
        "train, 32 x 32, batch 8, plain",
    ):
        for what in ("loop", "step", "loop / step", "seconds to the first step"):
            assert f"{words}: {what}" in positive
    for name, limit in (
        ("train, 32 x 32, batch 8, no flags: loop / step", ">= 0.9"),
        ("train, 32 x 32, batch 8, no flags / plain", ">= 3"),
        (
            "train, 32 x 32, batch 8, no flags: 350 epochs at Market-1501's size, extrapolated",
            "<= 15",
        ),
        ("search, 32 x 32, batch 8, no flags: 350 epochs at MSMT17's size, extrapolated", "<= 60"),
        ("rank, MSMT17's size", "<= 1"),
        ("rerank, MSMT17's size: whole, with metrics", "<= 10"),
    ):
        assert name in positive
        assert rows[name]["limit"] == limit
    assert rows["rank, MSMT17's size: queries that a processor scores otherwise"]["figure"] == 0
    assert {
        "embed, 32 x 32, float32, batch 64",
        "train, 32 x 32, batch 16, no flags: step",
    } <= positive
    assert [line["name"] for line in skipped[1:]] == [
        f"no time was left for {part}"
        for part in ["search", "retrieval", "embed", "train", "recipe", "train-plain", "memory"]
    ]


def test_a_part_that_fails_leaves_the_others_and_a_row(tmp_path, monkeypatch):
    def breaks(bench):
        yield row("before", 1, "")
        raise ValueError("no such kernel")

    monkeypatch.setattr(gpu, "prepared", lambda *_: None)
    parts = {"one": breaks, "two": lambda bench: iter([row("after", 2, "")])}
    rows = list(gpu.measure(torch.device("cpu"), gpu.Size(), tmp_path, parts))
    assert [line["name"] for line in rows[1:]] == [
        *("before", "one failed: ValueError: no such kernel", "after")
    ]
    assert rows[2]["ok"] is False


def test_rows_are_told_and_written_as_they_are_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    out, written = tmp_path / "new" / "gpu.csv", []

    def measure(*_):
        yield row("one", 1, "s", "<= 2")
        written.append(len(pd.read_csv(out)))
        yield row("two", 3, "s", "<= 2")

    monkeypatch.setattr(gpu, "measure", measure)
    gpu.run(out=out, folder=tmp_path)
    assert written == [1]
    table = pd.read_csv(out)
    assert table[["name", "ok", "gpu"]].to_numpy().tolist() == [
        *(["one", True, "a GPU"], ["two", False, "a GPU"])
    ]
    said = capsys.readouterr().out
    assert "one: 1 s  <= 2 ok" in said
    assert "two: 3 s  <= 2 MISSED" in said


def test_without_a_gpu_the_benchmark_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    table = gpu.run()
    assert list(table["name"]) == ["no GPU here: nothing measured"]
    assert table["ok"].isna().all()
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", "train", "--minutes", "4"])
    assert gpu.main() == 0
    assert capsys.readouterr().out == "no GPU here: nothing measured\n"


@pytest.mark.parametrize(
    ("figure", "limit", "kept"),
    [
        (1.4, "<= 1.5", True),
        (1.6, "<= 1.5", False),
        (1.6, ">= 1.5", True),
        (1.4, ">= 1.5", False),
        (3, "", None),
    ],
)
def test_limits(figure, limit, kept):
    assert verdict(figure, limit) is kept
    assert row("x", figure, "times", limit)["ok"] is kept


def test_a_leak_is_told_from_a_jump():
    minutes = np.arange(0, 10, 1 / 12)
    noise = np.random.default_rng(0).normal(0, 0.5, len(minutes))
    jump = np.where(minutes < 1.5, 950, 964) - np.where((minutes > 6) & (minutes < 6.5), 12, 0)
    assert abs(steady_slope(minutes, jump + noise)) < 0.3
    assert steady_slope(minutes, jump + noise + 1.5 * minutes) > MOST_MB_PER_MINUTE
