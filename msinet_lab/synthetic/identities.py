"""Who is drawn: identities of generated data, made of large and small attributes.

A *large* attribute fills much of the picture (clothes, build, vehicle type and colour), a *small*
one a few pixels (logo, shoes, bag, decal, rims). A third of the identities have a near-twin: every
large attribute shared, one small attribute different, so that no single scale is enough.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError

Colour = tuple[int, int, int]
Attributes = dict[str, str]

KINDS = ("people", "vehicles")
DOMAINS = ("A", "B")

# Domain A is a bright summer campus, domain B a town in winter: muted cloth, other hues.
CLOTH: Mapping[str, Mapping[str, Colour]] = {
    "A": {
        "white": (240, 238, 230),
        "black": (38, 38, 44),
        "red": (206, 52, 50),
        "orange": (236, 140, 52),
        "yellow": (240, 206, 76),
        "green": (72, 152, 86),
        "teal": (52, 158, 164),
        "blue": (52, 98, 188),
        "violet": (134, 88, 172),
        "pink": (236, 144, 172),
    },
    "B": {
        "ivory": (222, 212, 190),
        "charcoal": (54, 56, 62),
        "wine": (122, 38, 54),
        "rust": (172, 88, 50),
        "mustard": (186, 146, 54),
        "olive": (98, 106, 60),
        "pine": (38, 86, 76),
        "navy": (36, 48, 92),
        "plum": (92, 58, 102),
        "grey": (136, 140, 146),
    },
}

PAINT: Mapping[str, Mapping[str, Colour]] = {
    "A": {
        "white": (238, 238, 236),
        "silver": (172, 178, 184),
        "black": (40, 42, 48),
        "red": (200, 44, 44),
        "orange": (236, 132, 44),
        "yellow": (242, 200, 60),
        "green": (62, 146, 92),
        "sky": (92, 168, 220),
        "blue": (42, 82, 172),
        "brown": (124, 86, 62),
    },
    "B": {
        "cream": (226, 214, 188),
        "slate": (94, 104, 114),
        "graphite": (56, 58, 62),
        "burgundy": (116, 30, 48),
        "copper": (174, 96, 56),
        "sand": (196, 170, 120),
        "moss": (92, 110, 64),
        "ice": (176, 200, 212),
        "midnight": (30, 44, 84),
        "aubergine": (84, 50, 88),
    },
}

SKIN: Mapping[str, Colour] = {
    "light": (240, 200, 172),
    "tan": (206, 156, 118),
    "brown": (146, 98, 68),
    "dark": (96, 64, 48),
}

HAIR: Mapping[str, Colour] = {
    "black": (34, 28, 28),
    "brown": (92, 60, 40),
    "blond": (216, 178, 104),
    "grey": (168, 166, 164),
    "ginger": (180, 88, 42),
}

ACCENTS: Mapping[str, Colour] = {
    "white": (250, 250, 248),
    "black": (24, 24, 28),
    "red": (224, 40, 44),
    "yellow": (252, 218, 50),
    "blue": (40, 104, 220),
    "green": (44, 176, 92),
    "brown": (120, 76, 46),
    "pink": (240, 110, 160),
}


def _pairs(first: str, second: str) -> tuple[str, ...]:
    return tuple(f"{a} {b}" for a in first.split() for b in second.split())


def choices(
    kind: str, domain: str
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """The values that each (large, small) attribute can take, in drawing order."""
    if kind == "people":
        cloth = tuple(CLOTH[domain])
        large = {
            "build": ("slim", "average", "broad"),
            "height": ("short", "middle", "tall"),
            "skin": tuple(SKIN),
            "hair": ("short", "long", "bun", "tail", "bald", "cap"),
            "hair_colour": tuple(HAIR),
            "upper": ("tee", "shirt", "jacket", "coat", "vest"),
            "upper_colour": cloth,
            "pattern": ("plain", "hoops", "block", "checks", "dots", "lines"),
            "second_colour": cloth,
            "lower": ("trousers", "shorts", "skirt"),
            "lower_colour": cloth,
        }
        small = {
            "logo": ("none", *_pairs("white black red yellow", "disc square triangle star")),
            "bag": ("none", *_pairs("black brown red blue", "backpack satchel handbag")),
            "shoes": ("white", "black", "red", "yellow", "blue", "brown"),
            "stripes": ("none", *_pairs("white yellow red", "sleeve trouser")),
        }
        return large, small
    large = {
        "type": ("sedan", "hatchback", "suv", "pickup", "van", "truck", "bus"),
        "colour": tuple(PAINT[domain]),
        "roof_colour": ("same", "white", "black"),
        "proportions": ("compact", "regular", "long"),
    }
    small = {
        "decal": ("none", *_pairs("white black red yellow", "stripe disc flash bonnet")),
        "roof": ("none", "rails", "box", "rack", "sign"),
        "rims": (
            "silver spokes",
            "silver disc",
            "black spokes",
            "white disc",
            "yellow spokes",
            "red disc",
        ),
        "plate": ("centre", "left", "right", "high"),
    }
    return large, small


BARE_ROOFS = ("truck", "bus", "pickup")  # nothing is ever mounted on these
LARGE = {kind: tuple(choices(kind, "A")[0]) for kind in KINDS}
SMALL = {kind: tuple(choices(kind, "A")[1]) for kind in KINDS}


def _draw(values: Mapping[str, tuple[str, ...]], rng: np.random.Generator) -> Attributes:
    return {name: options[int(rng.integers(len(options)))] for name, options in values.items()}


def _settle(kind: str, who: Attributes) -> Attributes:
    """What does not show becomes one fixed value: differing there would be no difference."""
    if kind == "people":
        if who["hair"] == "bald":
            who["hair_colour"] = "black"
        if who["pattern"] == "plain":
            who["second_colour"] = "none"
        if not _stripes_show(who):
            who["stripes"] = "none"
        return who
    if who["type"] in ("truck", "bus"):
        who["proportions"] = "regular"
    if who["type"] in BARE_ROOFS:
        who["roof"] = "none"
    return who


def _stripes_show(who: Attributes) -> bool:
    bare = {"sleeve": who["upper"] == "vest", "trouser": who["lower"] == "skirt"}
    return not bare.get(who["stripes"].split()[-1], False)


def _legible(kind: str, who: Attributes) -> bool:
    """False for combinations that would hide what they are made of (a pattern in its own
    colour...).
    """
    if kind == "people":
        return (
            who["second_colour"] != who["upper_colour"]
            and who["lower_colour"] != who["upper_colour"]
        )
    return who["roof_colour"] != who["colour"]


def _visible_small(kind: str, who: Attributes) -> tuple[str, ...]:
    """The small attributes that would show on this identity, where a twin may differ."""
    if kind == "people":
        hidden = {"stripes"} if who["lower"] == "skirt" or who["upper"] == "vest" else set()
        return tuple(name for name in SMALL[kind] if name not in hidden)
    hidden = {"roof"} if who["type"] in BARE_ROOFS else set()
    return tuple(name for name in SMALL[kind] if name not in hidden)


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


def identities(kind: str, domain: str, train: int, test: int, seed: int) -> pd.DataFrame:
    """The table of identities: one row each, sorted by number (1, 2, ...; training first).

    Columns: `identity`, `split` (train or test), `twin` (the near-twin's number, 0 where there is
    none), `differs_in` (the one small attribute that tells the twins apart, or ""), then the large
    and the small attributes. In each split at least a third of the identities have a near-twin, in
    the same split; otherwise no two identities share all their large attributes.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind), DOMAINS.index(domain), 1])
    seen: set[tuple[str, ...]] = set()
    rows: list[dict[str, object]] = []
    for split, count in (("train", train), ("test", test)):
        rows += _identities_of_split(kind, domain, split, count, len(rows), seen, rng)
    return pd.DataFrame(rows)


def _identities_of_split(
    kind: str,
    domain: str,
    split: str,
    count: int,
    before: int,
    seen: set[tuple[str, ...]],
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    people: list[tuple[Attributes, str]] = []  # attributes, what tells them from their twin
    pairs = -(-count // 6) if count > 1 else 0  # a pair is two identities with a twin
    for place in range(count - pairs):
        who = _unseen(kind, domain, seen, rng)
        if place >= pairs:
            people.append((who, ""))
            continue
        twin, name = _twin_of(kind, domain, who, rng)
        people += [(who, name), (twin, name)]
    order = rng.permutation(count)  # so that twins are not neighbours by number
    number = {int(place): before + 1 + position for position, place in enumerate(order)}
    rows = []
    for position, place in enumerate(order):
        who, name = people[place]
        twin_number = number[int(place) ^ 1] if name else 0  # pairs come first: 0-1, 2-3, ...
        rows.append(
            {
                "identity": before + 1 + position,
                "split": split,
                "twin": twin_number,
                "differs_in": name,
                **who,
            }
        )
    return rows


def _unseen(
    kind: str, domain: str, seen: set[tuple[str, ...]], rng: np.random.Generator
) -> Attributes:
    for _ in range(1000):
        who = draw_one(kind, domain, rng)
        key = tuple(who[name] for name in LARGE[kind])
        if key not in seen:
            seen.add(key)
            return who
    raise ReidError(
        f"no more {kind} that differ in a large attribute can be drawn after {len(seen)}; ask for fewer identities"
    )
