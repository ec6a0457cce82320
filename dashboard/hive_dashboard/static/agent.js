import { build, startClocks } from "./dom.js";
import { startForms } from "./forms.js";
import { Live, say, showLive } from "./live.js";
import { Sections } from "./page.js";
import { Tail } from "./tail.js";

const { name, uid, cursor } = document.body.dataset;
const log = document.getElementById("tail");
const pill = document.getElementById("pill");
const clocks = startClocks();

const sections = new Sections(`/api/agent/${name}`, (state) => { document.title = state.title; clocks(); });

async function history(before) {
  const answer = await fetch(`/api/agent/${name}/history?before=${before}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) return [];
  return (await answer.json()).rows.map(([id, tree]) => ({ id, tree }));
}

const tail = new Tail(log, {
  make: ({ tree }) => build(tree),
  history: async (before) => {
    const rows = await history(before);
    if (!rows.length) document.getElementById("older")?.parentElement.remove();
    return rows;
  },
  onUnseen: (n) => { if (pill) { pill.hidden = !n; pill.textContent = `↓ ${n} new`; } },
  onSkip: (n) => gap(`${n} rows came faster than they can be shown; scroll up to load them`),
});

function gap(text) {
  let el = document.getElementById("gap");
  if (!el) {
    el = document.createElement("div");
    el.id = "gap";
    el.className = "gap";
    log.prepend(el);
  }
  el.textContent = text;
}

pill?.addEventListener("click", () => tail.resume());
document.getElementById("older")?.addEventListener("click", (event) => {
  event.preventDefault();
  tail.pause();
  tail.older();
});

// Filters by kind: kept in this browser, done by one attribute on the log.
const off = new Set(JSON.parse(localStorage.getItem("hive-filters") ?? '["state"]'));
const sheet = new CSSStyleSheet();
document.adoptedStyleSheets = [sheet];
function filter() {
  sheet.replaceSync([...off].map((kind) => `.tail [data-k="${CSS.escape(kind)}"]{display:none}`).join(""));
  for (const b of document.querySelectorAll("[data-filter]")) b.setAttribute("aria-pressed", String(!off.has(b.dataset.filter)));
  tail.remeasure();
}
document.getElementById("tool").addEventListener("click", ({ target }) => {
  const kind = target.dataset.filter;
  if (!kind) return;
  if (!off.delete(kind)) off.add(kind);
  localStorage.setItem("hive-filters", JSON.stringify([...off]));
  filter();
});
filter();

startForms(() => sections.refresh());

// A line that starts with / is a command.
const COMMANDS = new Set(["clear", "compact", "cancel", "model", "new-session", "help"]);
document.getElementById("f-prompt")?.addEventListener("submit", (event) => {
  const box = event.target.elements.body, found = box.value.trim().match(/^\/([a-z-]+)(?:\s+(.*))?$/);
  if (!found) return;
  event.preventDefault();
  event.stopPropagation();
  if (!COMMANDS.has(found[1])) return say(`There is no command /${found[1]}. There are: ${[...COMMANDS].map((c) => `/${c}`).join(" ")}`, "bad");
  command(box, found[1], found[2]);
});

async function command(box, word, argument) {
  const body = new URLSearchParams({ command: word, ...(argument ? { argument } : {}) });
  try {
    const answer = await fetch(`/a/${name}/command`, { method: "POST", body, headers: { Accept: "application/json" } });
    const said = await answer.json();
    if (answer.ok) box.value = "";
    say(said.ok ?? said.error, answer.ok ? "ok" : "bad");
  } catch { say("The dashboard is away, so nothing was sent. Your text is kept: try again.", "bad"); }
}

let escaped = 0;
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (event.timeStamp - escaped < 600) document.getElementById("cancel")?.click();
  escaped = event.timeStamp;
});

const live = new Live(uid, cursor ? Number(cursor) : null);
showLive(live);
live.addEventListener("rows", ({ detail }) => {
  const mine = detail.filter((row) => row[1] === uid && row[3]);
  document.querySelector(".tail > .empty")?.remove();
  tail.push(mine.map(([id, , , tree]) => ({ id, tree })));
});
live.addEventListener("changed", () => sections.refresh());
live.addEventListener("reset", () => location.reload());
document.addEventListener("visibilitychange", () => document.hidden || sections.refresh());
