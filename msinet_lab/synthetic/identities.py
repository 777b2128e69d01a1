"""Who is drawn: identities of generated data, made of large and small attributes.

A *large* attribute fills much of the picture (clothes, build, vehicle type and colour), a *small*
one a few pixels (logo, shoes, bag, decal, rims). A third of the identities have a near-twin: every
large attribute shared, one small attribute different, so that no single scale is enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_lab.synthetic.cameras import MOST_CAMERAS
from msinet_lab.synthetic.colours import CLOTH, HAIR, PAINT, SKIN

Attributes = dict[str, str]
Choices = Mapping[str, tuple[str, ...]]

KINDS = ("people", "vehicles")
DOMAINS = ("A", "B")
VERSION = 1  # of the drawing: raised whenever the same recipe begins to give other pictures


@dataclass(frozen=True)
class Recipe:
    """All that a generated data set depends on."""

    kind: str  # people or vehicles
    domain: str = "A"  # A or B: they differ in palette, background and cameras
    train_identities: int = 120
    test_identities: int = 60
    images_per_identity: int = 12
    cameras: int = 6
    seed: int = 0
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ReidError(f"kind is {self.kind!r}; what can be generated is {' or '.join(KINDS)}")
        if self.domain not in DOMAINS:
            raise ReidError(f"domain is {self.domain!r}; the domains are {' and '.join(DOMAINS)}")
        least = {"train_identities": 2, "test_identities": 2, "images_per_identity": 4}
        for name, low in {**least, "cameras": 2, "seed": 0}.items():
            if getattr(self, name) < low:
                raise ReidError(f"{name} is {getattr(self, name)}; it must be {low} or more")
        if self.cameras > MOST_CAMERAS:
            raise ReidError(f"cameras is {self.cameras}; file names leave room for {MOST_CAMERAS}")
        if self.train_identities + self.test_identities > 9999:
            raise ReidError(
                "more than 9999 identities do not fit the four digits of a file name; ask for fewer"
            )

    def random(self, *purpose: int) -> np.random.Generator:
        """Random numbers of this data set alone, others for each purpose."""
        place = KINDS.index(self.kind), DOMAINS.index(self.domain)
        return np.random.default_rng([self.seed, *place, *purpose])


def _words(words: str) -> tuple[str, ...]:
    return tuple(words.split())


def _pairs(first: str, second: str) -> tuple[str, ...]:
    return ("none", *(f"{a} {b}" for a in first.split() for b in second.split()))


def choices(kind: str, domain: str) -> tuple[Choices, Choices]:
    """The values that each (large, small) attribute can take, in drawing order."""
    if kind == "people":
        cloth = tuple(CLOTH[domain])
        return {
            "build": _words("slim average broad"),
            "height": _words("short middle tall"),
            "skin": tuple(SKIN),
            "hair": _words("short long bun tail bald cap"),
            "hair_colour": tuple(HAIR),
            "upper": _words("tee shirt jacket coat vest"),
            "upper_colour": cloth,
            "pattern": _words("plain hoops block checks dots lines"),
            "second_colour": cloth,
            "lower": _words("trousers shorts skirt"),
            "lower_colour": cloth,
        }, {
            "logo": _pairs("white black red yellow", "disc square triangle star"),
            "bag": _pairs("black brown red blue", "backpack satchel handbag"),
            "shoes": _words("white black red yellow blue brown"),
            "stripes": _pairs("white yellow red", "sleeve trouser"),
        }
    rims = "silver spokes, silver disc, black spokes, white disc, yellow spokes, red disc"
    return {
        "type": _words("sedan hatchback suv pickup van truck bus"),
        "colour": tuple(PAINT[domain]),
        "roof_colour": _words("same white black"),
        "proportions": _words("compact regular long"),
    }, {
        "decal": _pairs("white black red yellow", "stripe disc flash bonnet"),
        "roof": _words("none rails box rack sign"),
        "rims": tuple(rims.split(", ")),
        "plate": _words("centre left right high"),
    }


BARE_ROOFS = ("truck", "bus", "pickup")  # nothing is ever mounted on these
LARGE = {kind: tuple(choices(kind, "A")[0]) for kind in KINDS}
SMALL = {kind: tuple(choices(kind, "A")[1]) for kind in KINDS}


def _draw(values: Choices, rng: np.random.Generator) -> Attributes:
    return {name: options[int(rng.integers(len(options)))] for name, options in values.items()}


def _settle(kind: str, who: Attributes) -> Attributes:
    """What does not show becomes one fixed value: differing there would be no difference."""
    if kind == "people":
        bare = {"sleeve": who["upper"] == "vest", "trouser": who["lower"] == "skirt"}
        hidden = {
            "hair_colour": ("black", who["hair"] == "bald"),
            "second_colour": ("none", who["pattern"] == "plain"),
            "stripes": ("none", bare.get(who["stripes"].split()[-1], False)),
        }
    else:
        hidden = {
            "proportions": ("regular", who["type"] in ("truck", "bus")),
            "roof": ("none", who["type"] in BARE_ROOFS),
        }
    return who | {name: fixed for name, (fixed, unseen) in hidden.items() if unseen}


def _legible(kind: str, who: Attributes) -> bool:
    """False for what would hide what it is made of (a pattern in its own colour...)."""
    if kind == "people":
        return who["upper_colour"] not in (who["second_colour"], who["lower_colour"])
    return who["roof_colour"] != who["colour"]


def _visible_small(kind: str, who: Attributes) -> tuple[str, ...]:
    """The small attributes that would show on this identity, where a twin may differ."""
    if kind == "people":
        hidden = "stripes" if who["lower"] == "skirt" or who["upper"] == "vest" else ""
    else:
        hidden = "roof" if who["type"] in BARE_ROOFS else ""
    return tuple(name for name in SMALL[kind] if name != hidden)


def draw_one(kind: str, domain: str, rng: np.random.Generator) -> Attributes:
    """One identity at random: every attribute, large and small."""
    large, small = choices(kind, domain)
    while True:
        who = _settle(kind, {**_draw(large, rng), **_draw(small, rng)})
        if _legible(kind, who):
            return who


def _twin_of(
    kind: str, domain: str, who: Attributes, rng: np.random.Generator
) -> tuple[Attributes, str]:
    """The same large attributes with one small attribute changed, and that attribute's name."""
    names = _visible_small(kind, who)
    name = names[int(rng.integers(len(names)))]
    others = [value for value in choices(kind, domain)[1][name] if value != who[name]]
    return {**who, name: others[int(rng.integers(len(others)))]}, name


def identity_table(recipe: Recipe) -> pd.DataFrame:
    """The identities of a data set, one row each, sorted by number (1, 2, ...; training first).

    Columns: `identity`, `split` (train or test), `twin` (the near-twin's number, 0 where there is
    none), `differs_in` (the one small attribute that tells the twins apart, or ""), then the large
    and the small attributes. In each split at least a third of the identities have a near-twin, in
    the same split; otherwise no two identities share all their large attributes (`LARGE`, `SMALL`).
    """
    rng, kind, domain = recipe.random(1), recipe.kind, recipe.domain
    strangers = _strangers(kind, domain, rng)
    rows: list[dict[str, object]] = []
    for split in ("train", "test"):
        count = getattr(recipe, f"{split}_identities")
        found: list[tuple[Attributes, str]] = []  # attributes, what tells them from their twin
        pairs = -(-count // 6) if count > 1 else 0  # a pair is two identities with a twin
        for place in range(count - pairs):
            who = next(strangers)
            if place >= pairs:
                found.append((who, ""))
            else:
                twin, name = _twin_of(kind, domain, who, rng)
                found += [(who, name), (twin, name)]
        order = rng.permutation(count)  # so that twins are not neighbours by number
        first = len(rows) + 1
        number = {int(place): first + position for position, place in enumerate(order)}
        for place in map(int, order):
            who, name = found[place]
            twin_number = number[place ^ 1] if name else 0  # pairs come first: 0-1, 2-3, ...
            facts = {"identity": number[place], "split": split, "twin": twin_number}
            rows.append({**facts, "differs_in": name, **who})
    return pd.DataFrame(rows)


def _strangers(kind: str, domain: str, rng: np.random.Generator) -> Iterator[Attributes]:
    """Identities of which no two share all large attributes; `ReidError` when they run out."""
    seen: set[tuple[str, ...]] = set()
    while True:
        for _ in range(1000):
            who = draw_one(kind, domain, rng)
            key = tuple(who[name] for name in LARGE[kind])
            if key not in seen:
                break
        else:
            raise ReidError(
                f"no more {kind} that differ in a large attribute can be drawn after {len(seen)}; "
                "ask for fewer identities"
            )
        seen.add(key)
        yield who
