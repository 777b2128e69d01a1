"""A picture that can be clicked: the one widget here that needs a few lines of JavaScript."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

SCRIPT = """
function render({ model, el }) {
  const image = document.createElement("img");
  image.style.cssText = "cursor:crosshair;display:block;max-width:100%;outline-offset:2px";
  image.tabIndex = 0;
  image.alt = "click to choose a point; arrow keys move it";
  let address = null;
  const draw = () => {
    const old = address;
    address = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    image.src = address;
    if (old) URL.revokeObjectURL(old);
  };
  const choose = (row, column) => {
    const inside = (x) => Math.min(0.999, Math.max(0, x));
    model.set("point", [inside(row), inside(column)]);
    model.save_changes();
  };
  image.addEventListener("click", (event) => {
    const box = image.getBoundingClientRect();
    choose((event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width);
  });
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  image.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const [row, column] = model.get("point");
    choose(row + step[0] * 0.05, column + step[1] * 0.05);
  });
  model.on("change:value", draw);
  draw();
  el.appendChild(image);
  return () => { model.off("change:value", draw); if (address) URL.revokeObjectURL(address); };
}
export default { render };
"""


class ClickPicture(anywidget.AnyWidget):
    """PNG bytes in `value`; `point` is the last click as shares (0..1) of height and width."""

    _esm = SCRIPT
    value = traitlets.Bytes(b"").tag(sync=True)
    point = traitlets.List(traitlets.Float(), default_value=[0.5, 0.5]).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
