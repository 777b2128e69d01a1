"""Short forms of `make kill`: file operations that fail or are the last, and bad inputs."""

import os
import shutil
import subprocess
import sys

import pytest
from common import PROJECT, on_linux

pytestmark = [
    on_linux,
    pytest.mark.skipif(not shutil.which("gcc"), reason="faults are made by a small library in C"),
]


def carried_out(*words):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    words = [sys.executable, "-m", *words]
    done = subprocess.run(
        words, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def test_after_a_fault_in_any_file_operation_nothing_is_lost(tmp_path):
    names = ["a training that goes on", "a result that is there", "a store that is there"]
    names += ["export over a file", "notebooks", "data check"]
    words = ["--faults", "18", "--seed", "1", "--only", *names, "--folder", str(tmp_path)]
    assert "18 faults, 0 violations" in carried_out("benchmarks.faults", *words)


def test_inputs_that_once_failed_and_some_new_ones(tmp_path):
    names = ["run folder", "search that is looked at", "checkpoint of a search", "manifest"]
    names += ["table", "listing", "genotype", "operation", "store", "result", "index", "places"]
    words = ["--corpus", "--inputs", "24", "--seed", "1", "--only", *names]
    said = carried_out("benchmarks.fuzz", *words, "--folder", str(tmp_path))
    assert "29 inputs, 0 violations" in said
