"""Runs in a row: each taken as it is where it has finished, gone on with, or begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msinet_core.config import RunConfig
from msinet_core.runs.folder import RunFolder


def finished_run(
    start: Callable[..., RunFolder], config: RunConfig, folder: Path, **options: Any
) -> RunFolder:
    """The finished run of `config` in a folder; `start` is `search` or `train`, `options` are its.

    Wherever a stop or a kill left it, it goes on; a run that has finished is not touched.
    """
    run = RunFolder(folder)
    if run.finished and not run.config().differences(config):
        return run
    return start(config, run, resume=run.exists, **options)
