"""`model_card`: the README.md of a run that is given away, with metadata that hubs read."""

from __future__ import annotations

import json
from typing import Any

from msinet_core import __version__
from msinet_core.config import RunConfig, TrainConfig
from msinet_core.runs.folder import RunFolder

METRICS = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mINP": "mINP"}


def model_card(run: RunFolder) -> str:
    """Markdown behind YAML: what the run is, how it scored, how to use it, what it is not for."""
    config, metrics = run.config(), run.metrics() or {}
    parts = [
        f"---\n{_front(config, metrics)}---",
        f"# {_title(config)}",
        f"Made with msinet-core {__version__}: a {config.KIND} of {len(run.epochs())} of "
        f"{config.epochs} epochs on {_code(config.data)}, pictures of {config.height} x "
        f"{config.width} pixels.",
        _architecture(run, config),
        _scores(metrics),
        _use(config),
        "## Limits\n\nScores are of the identities and cameras of one data set; others may lie far "
        "below. Re-identification of people touches their privacy: have a right to the pictures, "
        "and look at errors by group before anything depends on them. The weights carry the "
        "licence that the training data asks for.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(config: RunConfig, metrics: dict[str, Any]) -> str:
    """YAML, of which JSON is a part: every value is quoted as JSON."""
    values: dict[str, Any] = {
        "library_name": "msinet-core",
        "tags": ["re-identification", "image-retrieval", config.KIND],
        "datasets": [config.data],
        "metrics": [name for name in METRICS if name in metrics],
    }
    if isinstance(config, TrainConfig):
        values["pipeline_tag"] = "image-feature-extraction"
    if metrics:
        found = [
            {"type": name, "name": label, "value": round(100 * metrics[name], 2)}
            for name, label in METRICS.items()
            if name in metrics
        ]
        task = {"type": "image-retrieval", "name": "re-identification"}
        data = {"type": config.data, "name": config.data}
        result = {"task": task, "dataset": data, "metrics": found}
        values["model-index"] = [{"name": _title(config), "results": [result]}]
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items())


def _title(config: RunConfig) -> str:
    network = getattr(config, "backbone", "msinet")
    return f"{'MSINet' if network == 'msinet' else network}, {config.KIND} on {config.data}"


def _architecture(run: RunFolder, config: RunConfig) -> str:
    genotype = run.genotype()
    if genotype is None or getattr(config, "backbone", "msinet") != "msinet":
        return ""
    rows = [
        f"| {number} | " + " | ".join(", ".join(map(_code, cell)) for cell in stage) + " |"
        for number, stage in enumerate(genotype.stages, 1)
    ]
    head = ["| stage | cell 1 | cell 2 |", "|---|---|---|"]
    return "\n".join(["## Architecture\n", *head, *rows])


def _scores(metrics: dict[str, Any]) -> str:
    rows = [
        f"| {label} | {100 * metrics[name]:.1f} % |"
        for name, label in METRICS.items()
        if name in metrics
    ]
    if not rows:
        return ""
    counted = f"{metrics.get('counted', 0):,.0f} of {metrics.get('queries', 0):,.0f}"
    told = f"{counted} queries count. Protocol: {_code(metrics.get('protocol', 'unknown'))}."
    return "\n".join(["## Scores\n", "| metric | |", "|---|---|", *rows, "", told])


def _use(config: RunConfig) -> str:
    if not isinstance(config, TrainConfig):
        words = "msinet train --genotype run --data market1501 --root data/market --run runs/train"
    else:
        words = "msinet evaluate --run run --on market1501=data/market"
    return (
        f"## Use\n\n```sh\npip install msinet-core\nmsinet pull hf:OWNER/NAME --to run\n{words}\n"
        "```\n\nThe files are data: weights as safetensors, everything else as text or plain "
        "values. Nothing in them is executed."
    )


def _code(words: Any) -> str:
    """Foreign words as code, so that they are no markup."""
    return f"`{' '.join(str(words).replace('`', ' ').split())}`"
