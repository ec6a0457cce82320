// Boxes "viewed" of the files of proposals, kept in this browser by what the files hold: who
// looked at one content has not looked at another.
const KEY = "hive-viewed", KEPT = 500;
const viewed = () => JSON.parse(localStorage.getItem(KEY) ?? "[]");

// What a yes would be given to unseen: nothing, or words.
function unseen(form) {
  const n = form.dataset.form.match(/^approve-(\d+)$/)?.[1];
  if (!n) return "";
  const left = document.querySelectorAll(`#files-${n} [data-viewed]:not(:checked)`).length;
  const words = [left && `${left} file${left > 1 ? "s" : ""} not viewed`, "risky" in form.dataset && "a high risk"];
  return words.filter(Boolean).join(", ");
}

// A yes to what is risky, or was not looked at, is given by the second press.
export function arm(form, words = unseen(form)) {
  form.dataset.xSure = words ? `${words}: press again to approve` : "";
  clearTimeout(form.disarm);
  form.disarm = setTimeout(() => delete form.dataset.xSure, 8000);
}

export function startReview() {
  document.addEventListener("submit", (event) => {
    const words = event.target.dataset.form && !("xSure" in event.target.dataset) && unseen(event.target);
    if (!words) return;
    event.preventDefault();
    event.stopPropagation();
    arm(event.target, words);
  }, true);
  // A second press is another one: no key that is held, and no double click.
  const same = (event) => {
    const again = event.detail > 1 || (event.repeat && event.key === "Enter");
    if (again && event.target.closest?.("form[data-form^=approve-] button")) event.preventDefault();
  };
  for (const name of ["keydown", "click"]) document.addEventListener(name, same, true);
  const count = () => {
    for (const button of document.querySelectorAll("[data-fold]")) button.hidden = false;
    for (const button of document.querySelectorAll("[data-split]")) {
      button.hidden = false;
      button.textContent = "xSplit" in document.documentElement.dataset ? "unified" : "split";
    }
    for (const files of document.querySelectorAll(".files")) {
      const boxes = [...files.querySelectorAll("[data-viewed]")];
      const marks = viewed();
      for (const box of boxes) box.checked = marks.includes(box.dataset.viewed);
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
    const mark = target.dataset.viewed, others = viewed().filter((m) => m !== mark);
    localStorage.setItem(KEY, JSON.stringify((target.checked ? [...others, mark] : others).slice(-KEPT)));
    count();
  });
  const root = document.documentElement;
  if (localStorage.getItem("hive-split") === "1") root.dataset.xSplit = "";
  document.addEventListener("click", ({ target }) => {
    const fold = target.closest("[data-fold]"), files = [...document.querySelectorAll("details.diff")];
    if (fold) {
      const open = !files.some((file) => file.open);
      for (const file of files) file.open = open;
      fold.textContent = open ? "fold all" : "open all";
    }
    if (!target.closest("[data-split]")) return;
    root.toggleAttribute("data-x-split");
    localStorage.setItem("hive-split", "xSplit" in root.dataset ? "1" : "0");
    count();
  });
  count();
  return count;
}
