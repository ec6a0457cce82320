// Ctrl K: jump to an agent, a page, a part of this page; switch what can be switched.
import { BASE, make, theme } from "./dom.js";
import { help } from "./keys.js";
import { askToNotify } from "./notify.js";

export function startPalette() {
  const open = () => document.querySelector("dialog") || show(entries());
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "k") return;
    event.preventDefault();
    open();
  });
  document.addEventListener("click", (event) => { if (event.target.closest("[data-jump-to]")) open(); });
  reveal();
}

// The server's bar may be drawn anew.
export function reveal() {
  for (const button of document.querySelectorAll("[data-jump-to]")) button.hidden = false;
}

function entries() {
  const found = [], seen = new Set();
  const add = (name, what, go) => { if (name && !seen.has(name + what)) { seen.add(name + what); found.push({ name, what, go }); } };
  const visit = (href) => () => location.assign(href);
  for (const a of document.querySelectorAll("[data-jump]")) add(a.querySelector("b").textContent, "needs you", () => a.click());
  for (const a of document.querySelectorAll(".box a.nm0, .side a")) add((a.querySelector(".grow")?.firstChild ?? a).textContent, "agent", visit(a.href));
  for (const ap of document.querySelectorAll(".ap")) add(ap.querySelector(".ti").textContent, "proposal", () => { ap.open = true; ap.scrollIntoView(); });
  for (const h of document.querySelectorAll(".pan > header h2")) add(h.querySelector(".sr")?.textContent, "section", () => h.scrollIntoView());
  const pages = document.querySelector("[data-jump-to]").dataset.jumpTo.split(" ");
  for (let i = 0; i < pages.length; i += 2) add(pages[i], "page", visit(BASE + pages[i + 1]));
  for (const [name, value] of [["dark", "dark"], ["light", "light"], ["as the system has it", ""]]) add(name, "colours", () => theme(value));
  const zone = document.getElementById("zone");
  if (zone) add("local time or UTC", "switch", () => zone.click());
  if ("Notification" in window) add("tell me when something needs me", "switch", askToNotify);
  add("keys", "help", help);
  return found;
}

function show(all) {
  const dialog = make("dialog", "", "palette"), input = make("input"), list = make("ul");
  input.type = "text";
  Object.entries({ role: "combobox", "aria-label": "jump to", "aria-controls": "jumps", "aria-expanded": "true", placeholder: "jump to…", autocomplete: "off" })
    .forEach(([name, value]) => input.setAttribute(name, value));
  list.id = "jumps";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "places");
  let rows = [], at = 0;
  const draw = () => {
    const words = input.value.toLowerCase().split(/\s+/);
    rows = all.filter((e) => words.every((w) => `${e.name} ${e.what}`.toLowerCase().includes(w))).slice(0, 12);
    at = Math.min(at, Math.max(0, rows.length - 1));
    list.replaceChildren(...rows.map((e, i) => {
      const li = make("li");
      li.id = `jump-${i}`;
      li.setAttribute("role", "option");
      li.setAttribute("aria-selected", String(i === at));
      li.append(make("span", e.name, "el"), make("span", e.what, "dim"));
      return li;
    }));
    input.setAttribute("aria-activedescendant", rows.length ? `jump-${at}` : "");
  };
  const go = (i) => { dialog.close(); rows[i]?.go(); };
  input.addEventListener("input", () => { at = 0; draw(); });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); at = (at + step + rows.length) % Math.max(1, rows.length); draw(); }
    if (event.key === "Enter") { event.preventDefault(); go(at); }
  });
  list.addEventListener("click", ({ target }) => go([...list.children].indexOf(target.closest("li"))));
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  dialog.append(input, list);
  document.body.append(dialog);
  dialog.showModal();
  draw();
}
