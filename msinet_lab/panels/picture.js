// HTML from the kernel; what bears data-at is a place to click, and the kernel is told which, and
// whether JupyterLab's theme is a dark one.
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const inside = (share) => Math.min(0.999, Math.max(0, share));

function render({ model, el }) {
  el.classList.add("msinet", "live");
  const draw = () => {
    const focused = el.contains(document.activeElement) && document.activeElement.dataset.at;
    el.innerHTML = model.get("value");
    for (const one of el.querySelectorAll("[data-at]")) {
      one.tabIndex = 0;
      one.setAttribute("role", "button");
      if (one.dataset.at === focused) one.focus({ preventScroll: true });
    }
  };
  const send = (target, row, column) =>
    model.send({ at: target.dataset.at, row: inside(row), column: inside(column) });
  const place = (event) => event.target.closest("[data-at]");
  const clicked = (event) => {
    const target = place(event);
    if (!target) return;
    const box = target.getBoundingClientRect();
    send(target, (event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width);
  };
  const pressed = (event) => {
    const target = place(event);
    if (!target) return;
    const point = target.dataset.point?.split(" ").map(Number);
    const step = point && STEPS[event.key];
    if (!step && event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    if (step) send(target, point[0] + step[0] * 0.05, point[1] + step[1] * 0.05);
    else send(target, ...(point ?? [0.5, 0.5]));
  };
  const themed = () => {
    const dark = document.body.dataset.jpThemeLight === "false";
    if (dark === model.get("dark")) return;
    model.set("dark", dark);
    model.save_changes();
  };
  const theme = new MutationObserver(themed);
  theme.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  themed();
  el.addEventListener("click", clicked);
  el.addEventListener("keydown", pressed);
  model.on("change:value", draw);
  draw();
  return () => {
    theme.disconnect();
    model.off("change:value", draw);
  };
}
export default { render };
