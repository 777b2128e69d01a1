"""The colours of generated data, and what light and mixing do to them."""

from __future__ import annotations

from collections.abc import Mapping

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255


def shade(colour: Colour, factor: float) -> Colour:
    """The colour darker (factor < 1) or lighter (> 1, towards white)."""
    if factor > 1:
        return mix(colour, (255, 255, 255), min(factor - 1, 1))
    red, green, blue = (int(value * factor) for value in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of the second colour in the first."""
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _palette(words: str) -> Mapping[str, Colour]:
    """From a name and its `rrggbb` in turn."""
    colours: dict[str, Colour] = {}
    for name, code in zip(words.split()[::2], words.split()[1::2], strict=True):
        red, green, blue = bytes.fromhex(code)
        colours[name] = red, green, blue
    return colours


# Domain A is a bright summer campus, domain B a town in winter: muted cloth, other hues.
CLOTH = {
    "A": _palette(
        "white f0eee6  black 26262c  red ce3432  orange ec8c34  yellow f0ce4c  "
        "green 489856  teal 349ea4  blue 3462bc  violet 8658ac  pink ec90ac"
    ),
    "B": _palette(
        "ivory ded4be  charcoal 36383e  wine 7a2636  rust ac5832  mustard ba9236  "
        "olive 626a3c  pine 26564c  navy 24305c  plum 5c3a66  grey 888c92"
    ),
}
PAINT = {
    "A": _palette(
        "white eeeeec  silver acb2b8  black 282a30  red c82c2c  orange ec842c  "
        "yellow f2c83c  green 3e925c  sky 5ca8dc  blue 2a52ac  brown 7c563e"
    ),
    "B": _palette(
        "cream e2d6bc  slate 5e6872  graphite 383a3e  burgundy 741e30  copper ae6038  "
        "sand c4aa78  moss 5c6e40  ice b0c8d4  midnight 1e2c54  aubergine 543258"
    ),
}
SKIN = _palette("light f0c8ac  tan ce9c76  brown 926244  dark 604030")
HAIR = _palette("black 221c1c  brown 5c3c28  blond d8b268  grey a8a6a4  ginger b4582a")
ACCENTS = _palette(
    "white fafaf8  black 18181c  red e0282c  yellow fcda32  "
    "blue 2868dc  green 2cb05c  brown 784c2e  pink f06ea0"
)
