// j k move · v viewed · a approve · d deny · 1-9 what needs you · ? help
const HELP = [["1 … 9", "go to what needs you"], ["j k", "next, previous proposal"],
  ["v", "tick the next file as viewed"], ["a", "approve (twice: first shows what)"], ["d", "deny"],
  ["Ctrl ⏎", "send the form"], ["?", "this help"]];

export function startKeys() {
  let armed = null;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input:not([type=checkbox]):not([type=radio]),textarea,select,dialog")) return;
    if (/^[1-9]$/.test(event.key)) return document.querySelector(`[data-jump="${event.key}"]`)?.click();
    if (event.key === "?") return help();
    const cards = [...document.querySelectorAll("[data-nav=ap]")];
    const current = cards.find((c) => "xOn" in c.dataset) ?? cards.find((c) => c.open);
    if (event.key === "j" || event.key === "k") {
      if (!cards.length) return;
      const at = cards.findIndex((c) => "xOn" in c.dataset);
      const next = cards[at < 0 ? 0 : Math.min(cards.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)))];
      for (const c of cards) delete c.dataset.xOn;
      next.dataset.xOn = "";
      next.open = true;
      next.scrollIntoView({ block: "nearest" });
      next.querySelector("summary").focus({ preventScroll: true });
    } else if (current && event.key === "v") {
      const box = [...current.querySelectorAll("[data-viewed]")].find((b) => !b.checked);
      box?.click();
    } else if (current && (event.key === "a" || event.key === "d")) {
      event.preventDefault();
      const button = current.querySelector(`[data-key="${event.key}"]`);
      if (!button) return;
      button.scrollIntoView({ block: "nearest" });
      if (event.key === "d") { button.closest("details").open = true; button.closest("details").querySelector("textarea").focus(); return; }
      if (armed === button) { armed = null; button.click(); } else { armed = button; button.focus(); }
      return;
    }
    armed = null;
  });
}

function help() {
  const dialog = document.createElement("dialog");
  const list = document.createElement("dl");
  for (const [key, what] of HELP) {
    const dt = document.createElement("dt"), dd = document.createElement("dd"), kbd = document.createElement("kbd");
    kbd.textContent = key;
    dt.append(kbd);
    dd.textContent = what;
    list.append(dt, dd);
  }
  dialog.append(list);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
