"""The command line: `msinet data | search | train | evaluate | embed | export | trust | study | describe | demo`.

Each command is one typed function whose parameters tyro turns into flags. Heavy imports happen
inside, so that `--help` is immediate.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from msinet_core.config import (
    Device,
    RunConfig,
    SearchConfig,
    TrainConfig,
    parse_options,
    read_genotype,
)
from msinet_core.errors import ReidError

if TYPE_CHECKING:
    from msinet_core.runs import RunFolder

Run = Annotated[Path, tyro.conf.arg(help="The run folder.")]
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status (0 done, 2 for a `ReidError`, 130 stopped)."""
    from msinet_core.loop import Stopped
    from msinet_core.processes import Elsewhere, leave

    words = list(sys.argv[1:] if argv is None else argv)
    command, name, rest = _find(words)
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    try:
        command(name, rest)
    except Elsewhere:
        return 2  # the first process says it
    except ReidError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped:
        return INTERRUPTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    leave()
    return 0


def _find(words: list[str]) -> tuple[Callable[[str, list[str]], None], str, list[str]]:
    """The command that the first words name, its full name, and the words that are left."""
    if not words or words[0] in ("-h", "--help"):
        print(_overview("msinet", COMMANDS))
        raise SystemExit(0)
    if words[0] == "--version":
        from msinet_core import __version__

        print(f"msinet {__version__}")
        raise SystemExit(0)
    for depth in (2, 1):
        name = " ".join(words[:depth])
        if name in COMMANDS:
            function, _ = COMMANDS[name]
            return function, f"msinet {name}", words[depth:]
    group = {name: entry for name, entry in COMMANDS.items() if name.startswith(f"{words[0]} ")}
    if group:
        print(_overview(f"msinet {words[0]}", group))
        raise SystemExit(0 if len(words) == 1 or words[1] in ("-h", "--help") else 2)
    print(f"error: there is no command {words[0]!r}\n\n{_overview('msinet', COMMANDS)}", file=sys.stderr)
    raise SystemExit(2)


def _overview(name: str, commands: dict[str, Any]) -> str:
    width = max(map(len, commands)) + 2
    lines = "\n".join(f"  {command:<{width}}{text}" for command, (_, text) in commands.items())
    return f"usage: {name} COMMAND [options]\n\n{lines}\n\nmsinet COMMAND --help explains a command's options."


def _call(function: Callable[..., None], name: str, words: list[str]) -> None:
    tyro.cli(function, prog=name, args=words, config=(tyro.conf.OmitArgPrefixes,))


def _plain(function: Callable[..., None]) -> Callable[[str, list[str]], None]:
    """A command whose flags are a function's parameters."""
    return lambda name, words: _call(function, name, words)


# -- search and train ----------------------------------------------------------------------------


def _stored_config(words: list[str], kind: type[RunConfig]) -> RunConfig | None:
    """With --resume: the run folder's configuration, which then gives the flags their defaults."""
    from msinet_core.runs import RunFolder

    if "--resume" not in words or "--run" not in words[:-1]:
        return None
    run = RunFolder(words[words.index("--run") + 1])
    config = run.config()
    if not isinstance(config, kind):
        raise ReidError(f"{str(run.path)!r} is a {config.KIND} run; resume it with `msinet {config.KIND}`")
    return config


def _search(name: str, words: list[str]) -> None:
    stored = _stored_config(words, SearchConfig) or SearchConfig()

    def command(*, config: SearchConfig = stored, run: Run, resume: bool = False, quiet: bool = False) -> None:  # type: ignore[assignment]
        """Search an architecture with the twins contrastive mechanism.

        Args:
            resume: Continue the run folder from its last checkpoint; other flags may then be left out.
            quiet: No progress bar.
        """
        from msinet_core.search import search

        _carry_out(search, config, run, resume, quiet)

    _call(command, name, words)


def _train(name: str, words: list[str]) -> None:
    stored = _stored_config(words, TrainConfig) or TrainConfig()

    def command(*, config: TrainConfig = stored, run: Run, resume: bool = False, quiet: bool = False) -> None:  # type: ignore[assignment]
        """Train the network of a genotype and evaluate it.

        Args:
            resume: Continue the run folder from its last checkpoint; other flags may then be left out.
            quiet: No progress bar.
        """
        from msinet_core.training import train

        _carry_out(train, config, run, resume, quiet)

    _call(command, name, words)


def _carry_out(start: Callable[..., RunFolder], config: RunConfig, run: Path, resume: bool, quiet: bool) -> None:
    from msinet_core.loop import Stopped, keep_freed_memory
    from msinet_core.processes import join

    keep_freed_memory()
    processes = join(config.device == "cpu")
    try:
        done = start(config, run, resume=resume, progress=not quiet)
        if processes.first:
            print(summary(done))
    except Stopped as stopped:
        if processes.first:
            print(f"stopped ({stopped}) and saved; continue with: msinet {config.KIND} --run {run} --resume")
        raise


def summary(run: RunFolder) -> str:
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
        rows += [(f"stage {place + 1}", "  |  ".join("  ".join(cell) for cell in stage))
                 for place, stage in enumerate(genotype.stages)]  # fmt: skip
        rows.append(("genotype", str(genotype)))
    if metrics:
        rows.append(("mAP", f"{metrics['mAP']:.4f}"))
        rows += [(f"rank-{k}", f"{metrics[f'rank{k}']:.4f}") for k in (1, 5, 10)]
        rows.append(("mINP", f"{metrics['mINP']:.4f}"))
        rows.append(("queries", f"{metrics['counted']:.0f} of {metrics['queries']:.0f} counted"))
        rows.append(("protocol", str(metrics["protocol"])))
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows)


# -- everything else -----------------------------------------------------------------------------


def evaluate(
    *,
    run: Run,
    on: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    after_necks: bool = False,
    flip: bool = False,
    batch_size: int = 64,
    device: Device = "auto",
    workers: int = 0,
    save: Path | None = None,
) -> None:
    """Score a trained network on its own test set or on others.

    Args:
        on: Data sets to score on, as name=folder (several may follow); default: the run's own.
        options: Options of those data sets, as name=value.
        after_necks: Features behind the necks, often better across domains.
        flip: Average the features of each image and its mirror image.
        batch_size: Images at a time.
        device: Where to compute; auto takes a GPU if there is one.
        workers: Threads that decode images.
        save: Folder to save the results in, for galleries and comparisons; one inside it for each data set.
    """
    from msinet_core.data import load_dataset
    from msinet_core.loop import choose_device, open_dataset
    from msinet_core.processes import join
    from msinet_core.retrieval import evaluate_across
    from msinet_core.runs import RunFolder
    from msinet_core.training import load_network

    folder, processes = RunFolder(run), join(device == "cpu")
    config, model = folder.config(), load_network(folder)
    places = [_named_folder(text) for text in on]
    datasets = [load_dataset(name, root, **parse_options(options)) for name, root in places]
    scored = evaluate_across(
        model, datasets or [open_dataset(config)], config.height, config.width, after_necks=after_necks,
        flip=flip, batch_size=batch_size, device=choose_device(device, processes), workers=workers, progress=True,
        processes=processes,
    )  # fmt: skip
    if not processes.first:
        return
    for name, result in scored.results.items():
        if save is not None:
            result.save(save / name)
    print(scored)


def embed(
    *,
    model: Path,
    data: str = "manifest",
    root: str,
    to: Path,
    options: tuple[str, ...] = (),
    after_necks: bool = False,
    flip: bool = False,
    batch_size: int = 64,
    device: Device = "auto",
    workers: int = 0,
) -> None:
    """Features of all images of a data set, in a store on disk that is reused while nothing changed.

    Args:
        model: A training run's folder, or a network exported as .onnx (needs the extra `export`).
        data: The data set's name.
        root: Its folder.
        to: Folder of the store.
        options: Options of the data set, as name=value.
        after_necks: Features behind the necks (an exported network has its own choice built in).
        flip: Average the features of each image and its mirror image.
        batch_size: Images at a time.
        device: Where to compute; auto takes a GPU if there is one.
        workers: Threads that decode images.
    """
    from msinet_core.data import load_dataset
    from msinet_core.loop import choose_device
    from msinet_core.processes import join
    from msinet_core.retrieval import OnnxModel, embed_dataset
    from msinet_core.runs import RunFolder
    from msinet_core.training import load_network

    dataset, processes = load_dataset(data, root, **parse_options(options)), join(device == "cpu")
    network: Any
    if model.suffix == ".onnx":
        network, target = OnnxModel(model), None
        height, width = network.size
    else:
        config = RunFolder(model).config()
        network, target = load_network(model), choose_device(device, processes)
        height, width = config.height, config.width
    store = embed_dataset(
        network, dataset, to, height, width, after_necks=after_necks, flip=flip, batch_size=batch_size,
        device=target, workers=workers, progress=True, processes=processes,
    )  # fmt: skip
    if processes.first:
        print(store)


def export(*, run: Run, to: Path, after_necks: bool = False) -> None:
    """Write a trained network as one ONNX file that needs no torch to run (extra `export`).

    Args:
        to: The file, ending in .onnx; or .pth for the authors' form of checkpoint.
        after_necks: Features behind the necks.
    """
    from msinet_core.models import reference
    from msinet_core.retrieval import export_onnx
    from msinet_core.runs import RunFolder
    from msinet_core.training import load_network

    config, model = RunFolder(run).config(), load_network(run)
    if to.suffix == ".onnx":
        print(export_onnx(model, to, config.height, config.width, after_necks=after_necks))
    elif to.suffix in (".pth", ".pt", ".safetensors"):
        print(reference.save_msinet(model, to))
    else:
        raise ReidError(f"exports end in .onnx, or in .pth for the authors' form; got {str(to)!r}")


def _named_folder(text: str) -> tuple[str, str]:
    name, sign, root = text.partition("=")
    if not sign:
        raise ReidError(f"data sets are given as name=folder, such as market1501=data/market; got {text!r}")
    return name, root


def describe(
    *, genotype: str = "paper", height: int = 256, width: int = 128, supernet: bool = False,
    channels: tuple[int, int, int, int] = (64, 256, 384, 512),
) -> None:  # fmt: skip
    """Parameters and multiply-adds of a network, stage by stage.

    Args:
        genotype: `paper`, a genotype's text, a genotype.json, or a run folder.
        height: Of the input, pixels.
        width: Of the input, pixels.
        supernet: Describe the supernet instead.
        channels: Of the stem and the three stages.
    """
    from msinet_core.models import MSINet, Supernet
    from msinet_core.models.describe import describe as count

    chosen = read_genotype(genotype)
    if not supernet:
        print(f"genotype   {chosen}\ncanonical  {chosen.canonical()}\n")
    table = count(Supernet(channels) if supernet else MSINet(chosen, 1, channels), height, width)
    print(table.map("{:,}".format).to_string())


def data_check(*, data: str = "manifest", root: str, options: tuple[str, ...] = (), quick: bool = False) -> None:
    """Check a data set before work: files, identities, splits, cameras, duplicates.

    Args:
        data: The data set's name.
        root: Its folder.
        options: Its options, as name=value.
        quick: Look at the table only, open no image.
    """
    from msinet_core.data import check_dataset, load_dataset

    dataset = load_dataset(data, root, **parse_options(options))
    report = check_dataset(dataset, quick=quick, progress=True)
    print(dataset, *(f"note: {note}" for note in dataset.notes), report, sep="\n")
    report.raise_if_broken()


def data_generate(
    kind: tyro.conf.Positional[Literal["people", "vehicles"]],
    *,
    root: Path,
    domain: Literal["A", "B"] = "A",
    train_identities: int = 60,
    test_identities: int = 60,
    images_per_identity: int = 12,
    cameras: int = 6,
    seed: int = 0,
) -> None:
    """Draw photographs of people (Market-1501 layout) or vehicles (VeRi layout).

    Args:
        kind: people or vehicles.
        root: Where to write.
        domain: A or B: they differ in palette, background and cameras.
        train_identities: Identities to train with.
        test_identities: Other identities to test with.
        images_per_identity: Photographs of each.
        cameras: At least 6.
        seed: The same seed draws the same pictures.
    """
    from msinet_core.data import generate

    folder = generate(
        kind, root, domain=domain, train_identities=train_identities, test_identities=test_identities,
        images_per_identity=images_per_identity, cameras=cameras, seed=seed, progress=True,
    )  # fmt: skip
    print(f"{folder}\nread it with: --data {'market1501' if kind == 'people' else 'veri776'} --root {folder}")


def trust(
    *,
    run: Run,
    seeds: tuple[Path, ...] = (),
    random: int = 30,
    trainings: int = 0,
    max_identities: int = 60,
    root: Path | None = None,
    to: Path | None = None,
) -> None:
    """Is a search to be trusted? Better than random, stable over seeds, what its operations really do.

    Everything is measured on identities of the search that trained no weight, never on test images.

    Args:
        run: The search's run folder, finished or not; it is only read.
        seeds: Runs of the same search with other seeds, to see whether they agree.
        random: Random genotypes to compare with.
        trainings: Short trainings from scratch to check the supernet's ranking (8 or more; 0 for none).
        max_identities: Of those that trained no weight, how many to retrieve among.
        root: Where the data is, if it was moved.
        to: Folder for tables and pictures; default `trust` in the run folder.
    """
    from dataclasses import replace

    from msinet_core import loop
    from msinet_core.figures.style import save
    from msinet_core.figures.trust import trust_figures
    from msinet_core.runs import RunFolder
    from msinet_core.search.diagnostics import diagnose

    folder = RunFolder(run)
    config, place = folder.config(), to or run / "trust"
    dataset = loop.open_dataset(replace(config, root=str(root)) if root else config)
    found = diagnose(
        folder, dataset=dataset, others=seeds, random=random, trainings=trainings, max_identities=max_identities,
        folder=place / "trainings",
    )  # fmt: skip
    found.save(place)
    for name, figure in trust_figures(found).items():
        save(figure, place / f"{name}.png")
    print(f"{found}\n\ntables and pictures: {place}")


def study(
    *,
    folder: Path = Path("runs/study"),
    parts: tuple[Literal["a", "b", "c", "d"], ...] = ("a", "b", "c", "d"),
    seeds: tuple[int, ...] = (0, 1, 2),
    kinds: tuple[Literal["people", "vehicles"], ...] = ("people", "vehicles"),
    turntable: Path | None = None,
    to: Path | None = None,
    search_steps: int = 48,
    train_epochs: int = 7,
    train_identities: int = 40,
    random: int = 2,
    device: Device = "auto",
) -> None:
    """Put the paper's claims to the test on small data: a table, a verdict for each, stop and go on at will.

    At its default size all four parts take about 35 minutes of one processor core.

    Args:
        folder: For the data and a run folder for every cell; finished cells are taken as they are.
        parts: a twins split, b searched against random and the paper's, c alignment across domains, d ResNets.
        seeds: One search and training of everything for each.
        kinds: Generated data to use.
        turntable: Folder of a data set of your own with a manifest, to use as well.
        to: The table, ending in .csv; verdicts and circumstances go beside it. Default: study.csv in the folder.
        search_steps: Of every search.
        train_epochs: Of every training.
        train_identities: Generated for training; as many again for tests.
        random: Random genotypes for each seed.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from msinet_core.figures.style import save
    from msinet_core.figures.trust_study import study_figures
    from msinet_core.search.study import Study, StudySize, summary, verdicts

    size = StudySize(
        train_identities=train_identities, test_identities=train_identities, search_steps=search_steps,
        train_epochs=train_epochs, random=random, device=device,
    )  # fmt: skip
    place = to or folder / "study.csv"
    rows = Study(folder, size, seeds, kinds, turntable).carry_out(parts, place)
    for name, figure in study_figures(rows).items():
        save(figure, place.with_name(f"{place.stem}_{name}.png"))
    print(summary(rows).round(4).to_string(index=False))
    print(verdicts(rows).round(4).to_string(index=False), f"table: {place}", sep="\n\n")


def demo(*, run: Run = Path("runs/demo"), seed: int = 0, device: Device = "auto") -> None:
    """The whole method in minutes: generate, search, derive, train, evaluate, first pictures.

    Args:
        run: Folder for the data, both runs and the pictures.
        seed: Of everything random.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from msinet_core.demo import run_demo

    run_demo(run, seed=seed, device=device)


COMMANDS: dict[str, tuple[Callable[[str, list[str]], None], str]] = {
    "data generate": (_plain(data_generate), "draw people or vehicles: data without any download"),
    "data check": (_plain(data_check), "check a data set before work"),
    "search": (_search, "search an architecture"),
    "train": (_train, "train a derived network"),
    "evaluate": (_plain(evaluate), "score a trained network, also on other data sets"),
    "embed": (_plain(embed), "features of a data set, in a store on disk"),
    "export": (_plain(export), "write a network as ONNX or as the authors' checkpoint"),
    "trust": (_plain(trust), "is a search to be trusted? numbers and pictures"),
    "study": (_plain(study), "the paper's claims put to the test on small data"),
    "describe": (_plain(describe), "parameters and multiply-adds by stage"),
    "demo": (_plain(demo), "the whole method in minutes, on generated data"),
}


if __name__ == "__main__":
    raise SystemExit(main())
