"""`msinet search | train`: flags from configurations, stopping, what a finished run says."""

# No `from __future__ import annotations`: tyro reads the type of `config`, made here.

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, field, fields, make_dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import docstring_parser  # which tyro brings
import tyro

from msinet_core import functions
from msinet_core.cli.parsing import Imports, Run
from msinet_core.config import RunConfig
from msinet_core.errors import ReidError, Stopped
from msinet_core.options import DataFields

if TYPE_CHECKING:
    from msinet_core.runs.folder import RunFolder


def working(kind: type[RunConfig], room: str, words: list[str]) -> Callable[..., None]:
    """The command that carries out runs of one kind with the function of that name in `room`; where
    the words name another, no more of it than its name in a list: its flags take long to make.
    """
    if words[:1] != [kind.KIND]:
        return _listed(kind)
    stored = _starting_point(kind, words)
    sections: Any = _sections(stored)
    defaults, recipes = sections(), _recipes(kind)
    names: Any = Literal[*kind.RECIPES]

    def command(
        *,
        run: Run,
        recipe: Annotated[names, tyro.conf.arg(help=recipes)] = "paper",
        exact: bool = False,
        resume: bool = False,
        quiet: bool = False,
        seeds: tuple[int, ...] = (),
        jobs: int = 1,
        imports: Imports = (),
        config: Annotated[sections, tyro.conf.arg(name="")] = defaults,
    ) -> None:
        given = {
            one.name: getattr(section, one.name)
            for section in map(config.__getattribute__, kind.SECTIONS)
            for one in fields(section)
        }
        asked = kind(**given, imports=imports or stored.imports)
        backbone = given.get("backbone", "")
        if functions.is_function_name(backbone) and _is_written("--backbone", words):
            functions.trust(backbone)
        grown = stored.epochs if resume and asked.epochs > stored.epochs else None
        said = "" if quiet else told(asked, grown)
        if seeds:
            _carry_out_seeds(asked, run, dict.fromkeys(seeds), jobs, resume, said)
        else:
            _carry_out(getattr(import_module(room), kind.KIND), asked, run, resume, said)

    command.__doc__ = f"""{kind.__doc__}

    Args:
        exact: The paper's recipe to the letter of the authors' code.
        resume: Continue the run folder from its last checkpoint; other flags may then be left out,
            and epochs may grow.
        quiet: No progress bar, and no table of what differs from the paper's recipe.
        seeds: One run for each of these seeds, in folders `seed-0`, ... below --run.
        jobs: How many of them at once, each a process of its own.
    """
    return command


def _listed(kind: type[RunConfig]) -> Callable[..., None]:
    def command() -> None:
        pass

    command.__doc__ = kind.__doc__
    return command


def _is_written(flag: str, words: list[str]) -> bool:
    return any(word.partition("=")[0] == flag for word in words)


def _recipes(kind: type[RunConfig]) -> str:
    """What the recipes set, as the help of their flag."""
    known = ["paper, the defaults as they are"]
    for name, values in kind.RECIPES.items():
        if values:
            words = (f"--{one.replace('_', '-')} {value}" for one, value in values.items())
            known.append(f"{name}: {' '.join(words)}")
    return f"Defaults, which flags override: {'; '.join(known)}."


def told(config: RunConfig, grown: int | None = None) -> str:
    """What a run says before it starts: where it leaves the paper's recipe, and why."""
    places = {field.name for field in fields(DataFields)}
    differing = type(config)().differences(config).items()
    rows = [(name, new, f"({old})") for name, (old, new) in differing if name not in places]
    base = "the defaults" if config.KIND == "pretrain" else "the paper's recipe"
    lines = [f"what differs from {base}:" if rows else f"{base}, unchanged"]
    width, longest = (max((len(str(row[n])) for row in rows), default=0) for n in (0, 1))
    lines += [f"  {name:<{width}}  {value!s:<{longest}}  {was}" for name, value, was in rows]
    if config.across_domains:
        lines.append(
            "augmentation is `across`, as --target tests on other data; give --augmentation within "
            "to keep erasing"
        )
    if grown is not None:
        lines.append(
            f"from {grown} to {config.epochs} epochs: the schedule is stretched, so that from here "
            f"on its rates are those of a run of {config.epochs} epochs"
        )
    return "\n".join(lines)


def _sections(config: RunConfig) -> type:
    """A configuration as nested sections, which `--help` shows as groups; its values are the
    defaults, and the texts below its fields their help.
    """
    made = {title: _section(config, section) for title, section in config.SECTIONS.items()}
    return make_dataclass(
        "Sections",
        [(title, section, field(default=section())) for title, section in made.items()],
        frozen=True,
    )


def _section(config: RunConfig, section: type) -> type:
    # tyro would read the texts by itself, but keeps the line breaks of the source within them.
    hints, texts = get_type_hints(section), _texts(section)
    return make_dataclass(
        section.__name__,
        [
            (
                one.name,
                Annotated[hints[one.name], tyro.conf.arg(help=texts[one.name])],
                field(default=getattr(config, one.name)),
            )
            for one in fields(section)
            if one.name not in config.HIDDEN
        ],
        frozen=True,
        namespace={"__doc__": section.__doc__},
    )


@cache
def _texts(section: type) -> dict[str, str]:
    """The text below each field; read from the source, which takes long."""
    return {
        text.arg_name: " ".join((text.description or "").split())
        for text in docstring_parser.parse_from_object(section).params
    }


@dataclass(frozen=True, kw_only=True)
class _Asked:
    run: Path | None = None
    resume: bool = False
    seeds: tuple[int, ...] = ()
    recipe: str = "paper"
    exact: bool = False


def _starting_point(kind: type[RunConfig], words: list[str]) -> RunConfig:
    """What flags default to: the recipe, or with --resume what the run folder has."""
    if words[:1] != [kind.KIND]:
        return kind()
    given = [word for word in words[1:] if word not in ("-h", "--help")]
    try:
        asked, _ = tyro.cli(_Asked, args=given, return_unknown_args=True, console_outputs=False)
    except SystemExit:  # words that the command itself will complain of
        return kind()
    recipe = kind.recipe(asked.recipe, asked.exact) if asked.recipe in kind.RECIPES else {}
    if not asked.resume or asked.run is None:
        return kind(**recipe)
    from msinet_core.runs.folder import RunFolder

    place = asked.run.expanduser()
    begun = [folder for seed in asked.seeds if (folder := _of_seed(place, seed)).is_dir()]
    run = RunFolder(begun[0] if begun else place)
    config = run.config()
    if type(config) is not kind:
        raise ReidError(
            f"{str(run.path)!r} is a {config.KIND} run; resume it with `msinet {config.KIND}`"
        )
    return replace(config, **recipe)


def _carry_out(
    start: Callable[..., "RunFolder"], config: RunConfig, run: Path, resume: bool, said: str
) -> None:
    from msinet_core.runs.processes import join
    from msinet_core.speed import keep_freed_memory

    keep_freed_memory()
    processes = join(config.device == "cpu")
    if said and processes.is_main_process:
        print(said, flush=True)
    try:
        done = start(config, run, resume=resume, progress=bool(said))
        if processes.is_main_process:
            print(summary(done))
    except Stopped as stopped:
        if processes.is_main_process:
            print(f"stopped ({stopped}) and saved; continue with: {_again(config, run)}")
        raise


def _carry_out_seeds(
    config: RunConfig, run: Path, seeds: Iterable[int], jobs: int, resume: bool, said: str
) -> None:
    from msinet_core.runs.many import ManyRuns

    if said:
        print(said, flush=True)
    commands = {
        _of_seed(run, seed): [*command_of(replace(config, seed=seed)), "--quiet"] for seed in seeds
    }
    try:
        done = ManyRuns(commands, jobs, resume).carry_out(progress=bool(said))
    except Stopped as stopped:
        words = ["msinet", config.KIND, "--run", str(run), "--seeds", *map(str, seeds)]
        words += ["--jobs", str(jobs), "--resume"]
        print(f"stopped ({stopped}) and saved; continue with: {shlex.join(words)}")
        raise
    print("\n\n".join(map(summary, done)))


def _of_seed(run: Path, seed: int) -> Path:
    return run / f"seed-{seed}"


def command_of(config: RunConfig) -> list[str]:
    """The words after `msinet` that ask for a configuration: what differs from the defaults."""
    config = config.remembering_modules()
    words = [config.KIND, *(word for name in config.imports for word in ("--import", name))]
    for one in fields(config):
        if one.name == "imports":
            continue
        value = getattr(config, one.name)
        default = None if one.default is MISSING else one.default
        if value == default:
            continue
        flag = "--" + one.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [flag, *(str(item) for item in value)]
        else:
            words += [flag, str(value)]
    return words


def _again(config: RunConfig, run: Path) -> str:
    """The words that take a run up again."""
    modules = config.remembering_modules().imports
    imports = (word for module in modules for word in ("--import", module))
    return shlex.join(["msinet", config.KIND, "--run", str(run), "--resume", *imports])


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
    if genotype and getattr(run.config(), "backbone", "msinet") == "msinet":
        rows += [
            (f"stage {place + 1}", "  |  ".join("  ".join(cell) for cell in stage))
            for place, stage in enumerate(genotype.stages)
        ]
        rows.append(("genotype", str(genotype)))
    if metrics and "top1" in metrics:
        rows += [(f"top-{k}", f"{metrics[f'top{k}']:.4f}") for k in (1, 5)]
    if metrics and "mAP" in metrics:
        rows.append(("mAP", f"{metrics['mAP']:.4f}"))
        rows += [(f"rank-{k}", f"{metrics[f'rank{k}']:.4f}") for k in (1, 5, 10)]
        rows.append(("mINP", f"{metrics['mINP']:.4f}"))
        rows.append(("queries", f"{metrics['counted']:.0f} of {metrics['queries']:.0f} counted"))
        rows.append(("protocol", str(metrics["protocol"])))
    rows += _other_scores(metrics or {})
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows)


def _other_scores(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Of identities held out of training, and of other data sets."""
    named = {f"target {name}": found for name, found in metrics.get("targets", {}).items()}
    if "validation" in metrics:
        best = metrics["best"]
        named["validation"] = metrics["validation"]
        rows = [("best", f"epoch {best['epoch']}, validation mAP {best['mAP']:.4f}")]
    else:
        rows = []
    scores = [(name, f"mAP {m['mAP']:.4f}, rank-1 {m['rank1']:.4f}") for name, m in named.items()]
    return scores + rows
