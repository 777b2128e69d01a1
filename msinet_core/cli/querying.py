"""`msinet query`: photographs of one's own against a gallery without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from msinet_core.cli.evaluating import open_model
from msinet_core.cli.parsing import AS_SAID, Pictures
from msinet_core.cli.shows import show
from msinet_core.errors import ReidError
from msinet_core.options import Device

Photographs = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO ...")]


def query(
    photographs: Photographs,
    *,
    model: str,
    gallery: Path,
    box: tuple[str, ...] = (),
    k: int = 20,
    together: bool = False,
    max_distance: float | None = None,
    root: Path | None = None,
    keep: Path | None = None,
    flip: bool = False,
    device: Device = "auto",
    workers: int = 0,
    to: Path | None = None,
    pictures: Annotated[Pictures, tyro.conf.arg(name="")] = AS_SAID,
) -> None:
    """Look photographs of your own up in a gallery that need not have labels.

    Args:
        photographs: One or more.
        model: The network: a run folder, or any other source of one.
        gallery: A folder of photographs, a store (`msinet embed`), an index, or a CSV with the
            column path and, for boxes on frames, x1, y1, x2, y2.
        box: What to look for, as x1,y1,x2,y2 in pixels: one for each photograph, or several on one.
        k: How many to show of each.
        together: All photographs show one individual: look for their mean.
        max_distance: Leave out what is farther; a threshold that `evaluate --threshold-from` chose.
        root: Where the gallery's pictures are, if not where they were.
        keep: Folder for a store of the gallery's features, used again while nothing changes.
        flip: Average the features of each image and its mirror image.
        device: Where to compute; auto takes a GPU if there is one.
        workers: Threads that decode images.
        to: Folder for a page with the pictures (needs the extra `lab`).
    """
    from msinet_core.retrieval import open_gallery, pictures_table
    from msinet_core.retrieval import query as look_up

    draw = show("answer", "--to") if to is not None else None
    wanted = pictures_table(photographs, [_box(text) for text in box])
    embedder = open_model(model, pictures, device, flip=flip, workers=workers)
    looked_in = open_gallery(gallery, embedder, root=root, keep=keep)
    asked: dict[str, Any] = {"k": k, "together": together, "max_distance": max_distance}
    answer = look_up(embedder, looked_in, wanted, **asked)
    print(answer.table.to_string(index=False))
    if draw is not None:
        print(f"\npage: {draw(answer, to)}")


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = map(float, text.split(","))
    except ValueError:
        raise ReidError(
            f"a box is x1,y1,x2,y2 in pixels, such as 10,20,70,180; got {text!r}"
        ) from None
    return x1, y1, x2, y2
