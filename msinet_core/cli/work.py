"""`msinet search | train`: flags from the configurations, stopping, and what a finished run says."""

# No `from __future__ import annotations`: tyro reads the type of `config`, which is a variable
# here.

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from msinet_core.cli.parsing import Command, Run, call
from msinet_core.config import RunConfig
from msinet_core.errors import ReidError, Stopped

if TYPE_CHECKING:
    from msinet_core.runs.folder import RunFolder


def working(kind: type[RunConfig], room: str, purpose: str) -> Command:
    """The command that carries out runs of one kind with the function of that name in `room`."""

    def parse(name: str, words: list[str]) -> None:
        stored = _stored_config(words, kind) or kind()

        def command(
            *,
            config: kind = stored,  # type: ignore[valid-type]
            run: Run,
            resume: bool = False,
            quiet: bool = False,
        ) -> None:
            start = getattr(import_module(room), kind.KIND)
            _carry_out(start, config, run, resume, quiet)

        command.__doc__ = f"""{purpose}

        Args:
            resume: Continue the run folder from its last checkpoint; other flags may then be left out.
            quiet: No progress bar.
        """
        call(command, name, words)

    return parse


def _stored_config(words: list[str], kind: type[RunConfig]) -> RunConfig | None:
    """With --resume: the run folder's configuration, which then gives the flags their defaults."""
    if "--resume" not in words or "--run" not in words[:-1]:
        return None
    from msinet_core.runs.folder import RunFolder

    run = RunFolder(words[words.index("--run") + 1])
    config = run.config()
    if not isinstance(config, kind):
        raise ReidError(
            f"{str(run.path)!r} is a {config.KIND} run; resume it with `msinet {config.KIND}`"
        )
    return config


def _carry_out(
    start: Callable[..., "RunFolder"], config: RunConfig, run: Path, resume: bool, quiet: bool
) -> None:
    from msinet_core.runs.devices import keep_freed_memory
    from msinet_core.runs.processes import join

    keep_freed_memory()
    processes = join(config.device == "cpu")
    try:
        done = start(config, run, resume=resume, progress=not quiet)
        if processes.is_main_process:
            print(summary(done))
    except Stopped as stopped:
        if processes.is_main_process:
            print(
                f"stopped ({stopped}) and saved; continue with: msinet {config.KIND} --run {run} --resume"
            )
        raise


def summary(run: "RunFolder") -> str:
    """What a finished run has to say, as a small table."""
    rows: list[tuple[str, str]] = [("run", str(run.path))]
    epochs, genotype, metrics = run.epochs(), run.genotype(), run.metrics()
    if len(epochs):
        last = epochs.iloc[-1]
        losses = [name for name in ("train_loss", "validation_loss", "loss") if name in epochs]
        rows.append(("epochs", f"{len(epochs)}, {epochs['seconds'].sum():.0f} s"))
        rows.append(("speed", f"{last['images_per_second']:.0f} images a second"))
        rows += [(name.replace("_", " "), f"{last[name]:.4f}") for name in losses]
    if genotype:
        rows += [
            (f"stage {place + 1}", "  |  ".join("  ".join(cell) for cell in stage))
            for place, stage in enumerate(genotype.stages)
        ]
        rows.append(("genotype", str(genotype)))
    if metrics:
        rows.append(("mAP", f"{metrics['mAP']:.4f}"))
        rows += [(f"rank-{k}", f"{metrics[f'rank{k}']:.4f}") for k in (1, 5, 10)]
        rows.append(("mINP", f"{metrics['mINP']:.4f}"))
        rows.append(("queries", f"{metrics['counted']:.0f} of {metrics['queries']:.0f} counted"))
        rows.append(("protocol", str(metrics["protocol"])))
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows)
