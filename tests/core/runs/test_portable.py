"""Nothing needs what only Linux has: runs where `fcntl`, `resource` and `/proc` are hidden."""

import os
import subprocess
import sys
from pathlib import Path

from common import PROJECT

SCRIPT = Path(__file__).parent / "portable_script.py"


def test_runs_are_made_stopped_and_resumed_without_what_only_linux_has(tiny_root, tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tiny_root), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("search", "train"):
        assert f"{kind} stopped: asked to stop" in done.stdout
        assert f"{kind} resumed and finished" in done.stdout
    assert "modules imported" in done.stdout
