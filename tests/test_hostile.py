"""The short form of `make kill`: file operations that fail or are the last, and bad inputs."""

import os
import shutil
import subprocess
import sys

import pytest
from common import PROJECT, on_linux


@on_linux
@pytest.mark.skipif(not shutil.which("gcc"), reason="faults are made by a small library in C")
def test_faults_and_bad_inputs_lose_nothing_and_end_in_a_sentence(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    words = [sys.executable, "-m", "benchmarks.hostile", "--folder", str(tmp_path)]
    done = subprocess.run(
        words, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "18 faults, 0 violations" in done.stdout
    assert "34 inputs, 0 violations" in done.stdout
