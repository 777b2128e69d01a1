"""Writing generated data: `generate` makes a data set.

The same arguments give the same bytes. A data set appears whole or not at all, with a record of
its arguments beside the pictures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from msinet_core.errors import BeingWritten, ReidError
from msinet_core.files import (
    LITTER,
    clear_leftovers,
    read_json,
    replacing_folder,
    wait_for_writer,
)
from msinet_lab.synthetic.identities import LARGE, SMALL, Attributes, Recipe, identity_table
from msinet_lab.synthetic.photos import Photo, Place, bad_box, false_detection, take

# the folder below the root, and within it those of train, query and gallery
LAYOUTS = {
    "people": ("Market-1501-v15.09.15", ("bounding_box_train", "query", "bounding_box_test")),
    "vehicles": ("VeRi", ("image_train", "image_query", "image_test")),
}
RECORD, IDENTITIES, IMAGES = "generated.json", "identities.csv", "images.csv"
JUNK, DISTRACTOR = -1, 0


@dataclass(frozen=True)
class _Shot:
    """One picture to take: who, by which camera, into which split, and the number that seeds it."""

    identity: int
    camera: int
    split: str
    number: int


def generate(
    kind: str,
    root: str | os.PathLike[str],
    *,
    domain: str = "A",
    train_identities: int = 120,
    test_identities: int = 60,
    images_per_identity: int = 12,
    cameras: int = 6,
    seed: int = 0,
    progress: bool = False,
    told: Callable[[str], object] | None = None,
) -> Path:
    """Draw a data set of `people` (Market-1501's layout) or `vehicles` (VeRi's) below `root`.

    Returns `root`, which `load_dataset("market1501", root)` or `load_dataset("veri776", root)`
    reads. Beside the pictures lie `identities.csv` (see `identity_table`), `images.csv` (path,
    identity, camera, yaw in degrees, view, occluder) and `generated.json` (the arguments).

    The cameras of a domain are the same whatever the seed; each sees every identity equally often
    (give or take one). Test identities never occur in training; a third of the test images are
    queries, of different cameras, at most one of an identity and camera. People come with junk (-1,
    a twelfth of the test images) and distractors (0, a sixth) in the gallery.

    Where the same data already lies below `root`, nothing is done. While another process draws
    there, `told` is called with a sentence and that process waited for, as long as it lives.
    ReidError if `root` holds anything that this function did not make, or generated data of other
    arguments; without `told` also while another process draws there.
    """
    recipe = Recipe(
        kind, domain, train_identities, test_identities, images_per_identity, cameras, seed
    )
    root = Path(root).expanduser()
    place, mark = root / LAYOUTS[kind][0], f"generated data set of {kind}"
    while not _exists_already(root, recipe):
        try:
            with replacing_folder(place, mark, flush=False) as draft:
                _exists_already(root, recipe)  # while the lock was waited for
                _write(recipe, draft, progress)
        except BeingWritten:
            if told is None:
                raise
            told(f"another process is drawing these {kind}; waiting until it has")
            wait_for_writer(place)
    return root


def _exists_already(root: Path, recipe: Recipe) -> bool:
    """True if the very data lies there; ReidError if anything else is in the way."""
    if root.exists() and not root.is_dir():
        raise ReidError(f"{str(root)!r} is a file; name a folder for the generated data")
    homes = {layout for layout, _ in LAYOUTS.values()}
    unfinished = tuple(f".{home}." for home in homes)
    for entry in sorted(root.iterdir()) if root.is_dir() else ():
        if entry.name in LITTER or entry.name.startswith(unfinished):
            continue
        if entry.name not in homes or not (entry / RECORD).is_file():
            raise ReidError(
                f"{str(root)!r} already holds {entry.name}, which was not generated here; "
                "name a new or empty folder"
            )
    home = root / LAYOUTS[recipe.kind][0]
    if not home.exists():
        return False
    record = read_json(home / RECORD)
    found = record if isinstance(record, dict) else {}
    differing = [
        f"{name} {found.get(name)!r} there, {value!r} asked"
        for name, value in asdict(recipe).items()
        if found.get(name) != value
    ]
    if differing:
        raise ReidError(
            f"{str(home)!r} holds generated data of other arguments ({'; '.join(differing)}); "
            "name another folder or delete it"
        )
    clear_leftovers(home)
    return True


def _write(recipe: Recipe, draft: Path, progress: bool) -> None:
    """All pictures, both tables, and the record."""
    table = identity_table(recipe)
    names = [*LARGE[recipe.kind], *SMALL[recipe.kind]]
    people = dict(zip(table["identity"], table[names].to_dict("records"), strict=True))
    parts = LAYOUTS[recipe.kind][1]
    for part in parts:
        (draft / part).mkdir()
    folders = dict(zip(("train", "query", "gallery"), parts, strict=True))
    rows = []
    shots = list(_plan(recipe))
    for shot in tqdm(shots, desc=f"drawing {recipe.kind}", unit="image", disable=not progress):
        place = Place(recipe.kind, recipe.domain, shot.camera)
        photo = _photograph(recipe, shot, place, people)
        path = f"{folders[shot.split]}/{_file_name(recipe.kind, shot)}"
        encoded = BytesIO()  # Pillow takes a write that fell short, as on a full disk, for whole
        photo.image.save(encoded, "JPEG", quality=place.lens.quality)
        (draft / path).write_bytes(encoded.getvalue())
        yaw = round(photo.yaw, 1)
        rows.append((path, shot.identity, shot.camera, yaw, photo.view, photo.occluder))
    images = pd.DataFrame(rows, columns=["path", "identity", "camera", "yaw", "view", "occluder"])
    table.to_csv(draft / IDENTITIES, index=False, lineterminator="\n")
    images.to_csv(draft / IMAGES, index=False, lineterminator="\n")
    record = json.dumps(asdict(recipe), indent=2) + "\n"
    (draft / RECORD).write_text(record, encoding="utf-8", newline="\n")


def _plan(recipe: Recipe) -> Iterator[_Shot]:
    """Every picture of the data set, in order."""
    each, rng = recipe.images_per_identity, recipe.random(2)
    for identity in range(1, recipe.train_identities + recipe.test_identities + 1):
        order = rng.permutation(recipe.cameras) + 1
        queries = min(recipe.cameras, each // 3)
        for number in range(each):
            split = "query" if number < queries else "gallery"
            if identity <= recipe.train_identities:
                split = "train"
            yield _Shot(identity, int(order[number % recipe.cameras]), split, number)
    if recipe.kind == "people":
        test = recipe.test_identities * each
        for identity, many in ((JUNK, -(-test // 12)), (DISTRACTOR, -(-test // 6))):
            for number in range(many):
                yield _Shot(identity, 1 + number % recipe.cameras, "gallery", number)


def _photograph(recipe: Recipe, shot: _Shot, place: Place, people: dict[int, Attributes]) -> Photo:
    """Seeded by what is in it alone, so that a larger data set begins with the same pictures."""
    rng = recipe.random(3, shot.identity + 1, shot.number)
    if shot.identity == DISTRACTOR:
        return false_detection(place, rng)
    if shot.identity == JUNK:
        who = people[int(rng.integers(recipe.train_identities, len(people))) + 1]
        return bad_box(place, who, rng)
    return take(place, people[shot.identity], rng)


def _file_name(kind: str, shot: _Shot) -> str:
    if kind == "vehicles":
        return f"{shot.identity:04d}_c{shot.camera:03d}_{1000 + 25 * shot.number:08d}_0.jpg"
    who = "-1" if shot.identity == JUNK else f"{shot.identity:04d}"
    return f"{who}_c{shot.camera}s1_{451 + 25 * shot.number:06d}_00.jpg"
