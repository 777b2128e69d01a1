"""A map of embeddings to zoom into: a thumbnail on hover, a click on a point chooses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from msinet_lab.figures.elements import data_address
from msinet_lab.figures.style import SERIES, series
from msinet_lab.panels.picture import Picture

HEIGHT = 460  # pixels
PAGES = {False: "#FFFFFF", True: "#111111"}  # of JupyterLab's themes: light, dark


def scatter_map(
    points: np.ndarray,
    table: pd.DataFrame,
    photos: Any,
    chosen: Callable[[int], Any],
    beside: Picture,
) -> Any:
    """The widget of N x 2 points, one a row of `table`, coloured by identity. photos: H x W x 3
    uint8 by place, or None. `chosen` is called with the place of the point that was clicked.
    It is dark where the picture `beside` it is, until it is closed.
    """
    import jscatter

    names = table["identity"].astype(str).reset_index(drop=True)
    data = pd.DataFrame(
        {"x": points[:, 0], "y": points[:, 1], "identity": names.astype("category")}
    )
    shown = ["identity"]
    if "camera" in table and table["camera"].notna().all():
        data["camera"] = table["camera"].astype(str).astype("category").to_numpy()
        shown.append("camera")
    colours = dict(zip(data["identity"].cat.categories, series(len(SERIES) * 99), strict=False))
    look: Any = {"color_by": "identity", "color_map": colours, "size": 9, "opacity": 0.9}
    made = jscatter.Scatter(data=data, x="x", y="y", height=HEIGHT, axes=False, **look)
    made.tooltip(True, properties=shown)
    if photos is not None:
        data["photograph"] = [data_address(photos[place]) for place in range(len(data))]
        made.tooltip(preview="photograph", preview_type="image", preview_image_height=140)

    def heard(change: Any) -> None:
        if len(change["new"]) == 1:
            chosen(int(change["new"][0]))

    def themed(_: Any = None) -> None:
        if made.widget.comm is None:  # closed
            beside.unobserve(themed, names="dark")
        else:
            made.background(PAGES[beside.dark])

    made.widget.observe(heard, names="selection")
    beside.observe(themed, names="dark")
    themed()
    return made.widget
