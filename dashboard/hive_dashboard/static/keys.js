// j k move · v viewed · n next file · a approve · c changes · d deny · 1-9 what needs you · / write · ? help
import { make } from "./dom.js";
import { arm } from "./review.js";

const HELP = [["1 … 9", "go to what needs you"], ["j k", "next, previous proposal"],
  ["n", "next file that is not viewed yet"], ["v", "tick it as viewed"],
  ["a", "approve (twice: first shows what)"], ["c", "ask for changes"], ["d", "deny"], ["/", "write, or search"],
  ["Ctrl K", "jump to anything"], ["Ctrl ⏎", "send the form"], ["Esc Esc", "on an agent's page: cancel the turn"],
  ["Alt 1 … 9", "on an agent's page: another agent"], ["?", "this help"]];

export const typing = (event) => event.isComposing
  || event.target.closest("input:not([type=checkbox]):not([type=radio]),textarea,select,dialog");

export function startKeys() {
  let armed = null;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
    const { key } = event;
    if (/^[1-9]$/.test(key)) return document.querySelector(`[data-jump="${key}"]`)?.click();
    if (key === "?") return help();
    if (key === "/") {
      event.preventDefault();
      return document.querySelector("[data-slash]")?.focus();
    }
    const cards = [...document.querySelectorAll("[data-nav=ap]")];
    const current = cards.find((c) => "xOn" in c.dataset) ?? cards.find((c) => c.open);
    if (key === "j" || key === "k") move(cards, key === "j" ? 1 : -1);
    else if (current && key === "v") unviewed(current)?.click();
    else if (current && key === "n") {
      const path = unviewed(current)?.closest("label").querySelector("a").hash;
      const file = path && document.getElementById(path.slice(1));
      if (file) { file.open = true; file.scrollIntoView({ block: "start" }); file.querySelector("summary").focus({ preventScroll: true }); }
    } else if (current && "acd".includes(key)) {
      event.preventDefault();
      if (event.repeat) return; // one long press is no second one
      const button = current.querySelector(`[data-key="${key}"]`);
      if (!button) return;
      button.scrollIntoView({ block: "nearest" });
      const fold = button.closest("details.deny");
      if (fold) { fold.open = true; fold.querySelector("textarea").focus(); return; }
      if (armed === button) { armed = null; button.click(); } else { armed = button; button.focus(); arm(button.form); }
      return;
    }
    armed = null;
  });
}

const unviewed = (card) => [...card.querySelectorAll("[data-viewed]")].find((box) => !box.checked);

function move(cards, step) {
  if (!cards.length) return;
  const at = cards.findIndex((c) => "xOn" in c.dataset);
  const next = cards[at < 0 ? 0 : Math.min(cards.length - 1, Math.max(0, at + step))];
  for (const c of cards) delete c.dataset.xOn;
  next.dataset.xOn = "";
  next.open = true;
  next.scrollIntoView({ block: "nearest" });
  next.querySelector("summary").focus({ preventScroll: true });
}

export function help() {
  const dialog = make("dialog"), list = make("dl");
  dialog.setAttribute("aria-label", "keys");
  for (const [key, what] of HELP) {
    const dt = make("dt");
    dt.append(make("kbd", key));
    list.append(dt, make("dd", what));
  }
  dialog.append(list);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
