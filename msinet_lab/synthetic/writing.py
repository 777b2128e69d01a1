"""Writing generated data: `generate` makes a data set, `describe` says who is in it.

The same arguments give the same bytes. A data set appears whole or not at all: it is drawn into a
folder beside its place and renamed when complete, with a record of its arguments written last.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from msinet_core.errors import ReidError
from msinet_lab.synthetic.cameras import MOST_CAMERAS, camera
from msinet_lab.synthetic.identities import DOMAINS, KINDS, LARGE, SMALL, identity_table
from msinet_lab.synthetic.photos import Photo, bad_box, false_detection, take

# the folder below the root, and within it those of train, query and gallery
LAYOUTS = {
    "people": ("Market-1501-v15.09.15", ("bounding_box_train", "query", "bounding_box_test")),
    "vehicles": ("VeRi", ("image_train", "image_query", "image_test")),
}
RECORD, IDENTITIES, IMAGES = "generated.json", "identities.csv", "images.csv"
VERSION = 1  # of the drawing: raised whenever the same arguments begin to give other pictures
JUNK, DISTRACTOR = -1, 0


@dataclass(frozen=True)
class Recipe:
    """All that a generated data set depends on."""

    kind: str
    domain: str
    train_identities: int
    test_identities: int
    images_per_identity: int
    cameras: int
    seed: int
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ReidError(f"kind is {self.kind!r}; what can be generated is {' or '.join(KINDS)}")
        if self.domain not in DOMAINS:
            raise ReidError(f"domain is {self.domain!r}; the domains are {' and '.join(DOMAINS)}")
        least = {
            "train_identities": 2,
            "test_identities": 2,
            "images_per_identity": 4,
            "cameras": 2,
            "seed": 0,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ReidError(f"{name} is {getattr(self, name)}; it must be {low} or more")
        if self.cameras > MOST_CAMERAS:
            raise ReidError(f"cameras is {self.cameras}; file names leave room for {MOST_CAMERAS}")
        if self.train_identities + self.test_identities > 9999:
            raise ReidError(
                "more than 9999 identities do not fit the four digits of a file name; ask for fewer"
            )


@dataclass(frozen=True)
class _Shot:
    """One picture to take: who, by which camera, into which split, and the number that seeds it."""

    identity: int
    camera: int
    split: str
    number: int


def describe(
    kind: str,
    *,
    domain: str = "A",
    train_identities: int = 120,
    test_identities: int = 60,
    seed: int = 0,
) -> pd.DataFrame:
    """The identities that `generate` draws for these arguments, without drawing them.

    One row an identity: `identity`, `split` (train or test), `twin` (its near-twin's number, 0
    where it has none), `differs_in` (the one attribute that tells them apart), then the large
    attributes (`LARGE[kind]`) and the small ones (`SMALL[kind]`).
    """
    recipe = Recipe(kind, domain, train_identities, test_identities, 4, 2, seed)
    return identity_table(kind, domain, recipe.train_identities, recipe.test_identities, seed)


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
) -> Path:
    """Draw a data set of `people` (Market-1501's layout) or `vehicles` (VeRi's) below `root`.

    Returns `root`, which `load_dataset("market1501", root)` or `load_dataset("veri776", root)`
    reads. Beside the pictures lie `identities.csv` (see `describe`) and `images.csv` (path,
    identity, camera, yaw in degrees, view, occluder), and `generated.json` (the arguments).

    The cameras of a domain are the same whatever the seed; each sees every identity equally often
    (give or take one). Test identities never occur in training; a third of the test images are
    queries, of different cameras, at most one of an identity and camera. People come with junk (-1,
    a twelfth of the test images) and distractors (0, a sixth) in the gallery.

    Where the same data already lies below `root`, nothing is done. ReidError if `root` holds
    anything that this function did not make, or generated data of other arguments.
    """
    recipe = Recipe(
        kind, domain, train_identities, test_identities, images_per_identity, cameras, seed
    )
    root = Path(root).expanduser()
    home = root / LAYOUTS[kind][0]
    if _exists_already(root, home, recipe):
        return root
    draft = home.with_name(f".{home.name}.unfinished")
    if draft.exists():  # left by a run that was interrupted
        shutil.rmtree(draft)
    for folder in LAYOUTS[kind][1]:
        (draft / folder).mkdir(parents=True)
    _write(recipe, draft, progress)
    (draft / RECORD).write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")
    draft.rename(home)
    return root


def _exists_already(root: Path, home: Path, recipe: Recipe) -> bool:
    """True if the very data lies there; ReidError if anything else is in the way."""
    if root.exists() and not root.is_dir():
        raise ReidError(f"{root} is a file; name a folder for the generated data")
    ours = {name for layout, _ in LAYOUTS.values() for name in (layout, f".{layout}.unfinished")}
    for entry in sorted(root.iterdir()) if root.is_dir() else ():
        finished = not entry.name.startswith(".") and (entry / RECORD).is_file()
        if entry.name not in ours or not (finished or entry.name.endswith(".unfinished")):
            raise ReidError(
                f"{root} already holds {entry.name}, which was not generated here; name a new or empty folder"
            )
    if not home.exists():
        return False
    wanted, found = asdict(recipe), json.loads((home / RECORD).read_text(encoding="utf-8"))
    differing = [
        f"{name} {found.get(name)!r} there, {value!r} asked"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if differing:
        raise ReidError(
            f"{home} holds generated data of other arguments ({'; '.join(differing)}); name another folder or delete it"
        )
    return True


def _write(recipe: Recipe, draft: Path, progress: bool) -> None:
    """All pictures and both tables."""
    table = identity_table(
        recipe.kind, recipe.domain, recipe.train_identities, recipe.test_identities, recipe.seed
    )
    table.to_csv(draft / IDENTITIES, index=False, lineterminator="\n")
    attributes = (*LARGE[recipe.kind], *SMALL[recipe.kind])
    people = {
        int(row["identity"]): {name: str(row[name]) for name in attributes}
        for row in table.to_dict("records")
    }
    folders = dict(zip(("train", "query", "gallery"), LAYOUTS[recipe.kind][1], strict=True))
    shots = list(_plan(recipe))
    rows = []
    for shot in tqdm(shots, desc=f"drawing {recipe.kind}", unit="image", disable=not progress):
        photo = _photograph(recipe, shot, people)
        path = f"{folders[shot.split]}/{_file_name(recipe.kind, shot)}"
        photo.image.save(draft / path, "JPEG", quality=camera(recipe.domain, shot.camera).quality)
        rows.append(
            (path, shot.identity, shot.camera, round(photo.yaw, 1), photo.view, photo.occluder)
        )
    images = pd.DataFrame(rows, columns=["path", "identity", "camera", "yaw", "view", "occluder"])
    images.to_csv(draft / IMAGES, index=False, lineterminator="\n")


def _plan(recipe: Recipe) -> Iterator[_Shot]:
    """Every picture of the data set, in order."""
    each, count = recipe.images_per_identity, recipe.train_identities + recipe.test_identities
    rng = np.random.default_rng(
        [recipe.seed, KINDS.index(recipe.kind), DOMAINS.index(recipe.domain), 2]
    )
    for identity in range(1, count + 1):
        order = rng.permutation(recipe.cameras) + 1
        queries = min(recipe.cameras, each // 3)
        for number in range(each):
            split = (
                "train"
                if identity <= recipe.train_identities
                else "query"
                if number < queries
                else "gallery"
            )
            yield _Shot(identity, int(order[number % recipe.cameras]), split, number)
    if recipe.kind == "people":
        test = recipe.test_identities * each
        for identity, many in ((JUNK, -(-test // 12)), (DISTRACTOR, -(-test // 6))):
            for number in range(many):
                yield _Shot(identity, 1 + number % recipe.cameras, "gallery", number)


def _photograph(recipe: Recipe, shot: _Shot, people: dict[int, dict[str, str]]) -> Photo:
    """Seeded by what is in it alone, so that a larger data set begins with the same pictures."""
    place = [recipe.seed, KINDS.index(recipe.kind), DOMAINS.index(recipe.domain), 3]
    rng = np.random.default_rng([*place, shot.identity + 1, shot.number])
    if shot.identity == DISTRACTOR:
        return false_detection(recipe.domain, shot.camera, rng)
    if shot.identity == JUNK:
        who = people[int(rng.integers(recipe.train_identities, len(people))) + 1]
        return bad_box(who, recipe.domain, shot.camera, rng)
    return take(recipe.kind, people[shot.identity], recipe.domain, shot.camera, rng)


def _file_name(kind: str, shot: _Shot) -> str:
    if kind == "vehicles":
        return f"{shot.identity:04d}_c{shot.camera:03d}_{1000 + 25 * shot.number:08d}_0.jpg"
    who = "-1" if shot.identity == JUNK else f"{shot.identity:04d}"
    return f"{who}_c{shot.camera}s1_{451 + 25 * shot.number:06d}_00.jpg"
