// Boxes "viewed" of the files of proposals, kept in this browser.
const key = (name) => `hive-viewed:${name}`;

export function startReview() {
  const count = () => {
    for (const button of document.querySelectorAll("[data-split]")) {
      button.hidden = false;
      button.textContent = "xSplit" in document.documentElement.dataset ? "unified" : "split";
    }
    for (const files of document.querySelectorAll(".files")) {
      const boxes = [...files.querySelectorAll("[data-viewed]")];
      for (const box of boxes) box.checked = localStorage.getItem(key(box.dataset.viewed)) === "1";
      const done = boxes.filter((box) => box.checked).length;
      const text = `${done} / ${boxes.length} viewed`;
      const label = files.querySelector(".viewed");
      if (label.textContent !== text) label.textContent = text;
      const left = document.querySelector(`[data-unviewed="${files.id.slice(6)}"]`);
      const more = boxes.length - done;
      if (left) left.textContent = more ? `${more} file${more > 1 ? "s" : ""} not viewed yet` : "all files viewed";
    }
  };
  document.addEventListener("change", ({ target }) => {
    if (!target.dataset?.viewed) return;
    localStorage.setItem(key(target.dataset.viewed), target.checked ? "1" : "0");
    count();
  });
  const root = document.documentElement;
  if (localStorage.getItem("hive-split") === "1") root.dataset.xSplit = "";
  document.addEventListener("click", ({ target }) => {
    if (!target.closest("[data-split]")) return;
    root.toggleAttribute("data-x-split");
    localStorage.setItem("hive-split", "xSplit" in root.dataset ? "1" : "0");
    count();
  });
  count();
  return count;
}
