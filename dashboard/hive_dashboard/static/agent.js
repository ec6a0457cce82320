import { startCopy } from "./copy.js";
import { BASE, cast, make, startClocks, tick } from "./dom.js";
import { startForms } from "./forms.js";
import { Live, say, showLive } from "./live.js";
import { Sections } from "./page.js";
import { startKeys } from "./keys.js";
import { showCount } from "./notify.js";
import { reveal, startPalette } from "./palette.js";
import { startPrompt } from "./prompt.js";
import { Tail } from "./tail.js";

const { name, uid, cursor, found, blind } = document.body.dataset;
const log = document.getElementById("tail");
const pill = document.getElementById("pill");
const clocks = startClocks();

const sections = new Sections(`/api/agent/${name}`, (state) => {
  showCount(state, live.leads);
  clocks();
  reveal();
  // The history that could not be had when this page was loaded is there now.
  if (blind && !document.querySelector("#sec-away > .s-bad")) location.reload();
});

async function rowsBefore(id) {
  const answer = await fetch(`${BASE}/api/agent/${name}/history?before=${id}`, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer?.ok) {
    say("Older rows cannot be had now; scroll up again later.", "bad");
    return null;
  }
  return (await answer.json()).rows.map(([id, tree]) => ({ id, tree }));
}

const tail = new Tail(log, {
  make: ({ tree }) => cast(tree),
  history: async (before) => {
    const rows = await rowsBefore(before);
    if (rows && !rows.length) document.getElementById("older")?.parentElement.remove();
    return rows;
  },
  onUnseen: (n) => { if (pill) { pill.hidden = !n; pill.textContent = `↓ ${n} new`; } },
  onDrawn: () => { if (!found) { document.querySelector(".tail > .empty")?.remove(); running(); } },
  onSkip: (n) => gap(`${n} rows came faster than they can be shown; scroll up to load them`),
});

// The tool that runs now, with a clock: the last row of the log, until its result comes.
const run = make("span", "", "run");
run.setAttribute("aria-hidden", "true"); // or each second would be read out
function running() {
  let row = log.lastElementChild?.lastElementChild;
  while (row && (row.dataset.k === "state" || row.dataset.k === "thinking")) row = row.previousElementSibling;
  if (!row?.classList.contains("use")) return run.remove();
  if (run.parentElement === row.lastElementChild) return;
  run.dataset.since = row.querySelector("time").dataset.at;
  tick(run);
  const name = row.lastElementChild.querySelector("b"), what = name.nextElementSibling;
  (what?.localName === "span" ? what : name).after(" ", run); // behind what it was given
}

function gap(text) {
  const height = log.scrollHeight;
  let el = document.getElementById("gap");
  if (!el) {
    el = document.createElement("div");
    el.id = "gap";
    el.className = "gap";
    log.prepend(el);
  }
  el.textContent = text;
  if (!tail.follow) log.scrollTop += log.scrollHeight - height; // under the reader nothing moves
}

pill?.addEventListener("click", () => tail.resume());
document.getElementById("older")?.addEventListener("click", (event) => {
  event.preventDefault();
  tail.pause();
  tail.older();
});

// Filters by kind, done by one attribute on the log: in the address, so that a link carries them
// and Back takes one off, and kept in this browser for addresses that say nothing of them.
const buttons = [...document.querySelectorAll("[data-filter]")];
const sheet = new CSSStyleSheet();
document.adoptedStyleSheets = [sheet];
let off = new Set();
function filter(kinds) {
  off = new Set(kinds);
  sheet.replaceSync([...off].map((kind) => `.tail [data-k="${CSS.escape(kind)}"]{display:none}`).join(""));
  for (const b of buttons) b.setAttribute("aria-pressed", String(!off.has(b.dataset.filter)));
  tail.remeasure();
}
const hidden = new URLSearchParams(location.search).get("hide");
const asked = hidden?.split(",").filter((kind) => buttons.some((b) => b.dataset.filter === kind));
filter(asked ?? JSON.parse(localStorage.getItem("hive-filters") ?? '["state"]'));
history.replaceState([...off], "");
document.getElementById("tool").addEventListener("click", ({ target }) => {
  const kind = target.dataset.filter;
  if (!kind) return;
  filter(off.has(kind) ? [...off].filter((other) => other !== kind) : [...off, kind]);
  const url = new URL(location);
  url.searchParams.set("hide", [...off]);
  history.pushState([...off], "", url);
  localStorage.setItem("hive-filters", JSON.stringify([...off]));
});
addEventListener("popstate", ({ state }) => { if (state) filter(state); });

// Wrapped lines and times: how this reader likes them.
for (const button of document.querySelectorAll("[data-toggle]")) {
  const key = `hive-no-${button.dataset.toggle}`, name = `x-no-${button.dataset.toggle}`;
  const show = () => {
    const no = localStorage.getItem(key) === "1";
    log.toggleAttribute(`data-${name}`, no);
    button.setAttribute("aria-pressed", String(!no));
    tail.remeasure();
  };
  button.addEventListener("click", () => { localStorage.setItem(key, localStorage.getItem(key) === "1" ? "0" : "1"); show(); });
  show();
}

document.fonts.ready.then(() => tail.remeasure()); // rows may be of another height in it

startForms(() => sections.refresh());

startPrompt(name);
startKeys();
startPalette();
startCopy();

let escaped = -Infinity;
document.addEventListener("keydown", (event) => {
  if (event.altKey && /^[1-9]$/.test(event.key)) {
    event.preventDefault();
    document.querySelectorAll(".side a")[event.key - 1]?.click();
  }
  if (event.key !== "Escape" || event.repeat || event.isComposing || event.target.closest?.("dialog")) return;
  if (event.timeStamp - escaped < 600) document.getElementById("cancel")?.click();
  escaped = event.timeStamp;
});

const live = new Live(uid, cursor ? Number(cursor) : null);
showLive(live, sections);
live.onRows = (rows) => {
  const mine = rows.filter((row) => row[1] === uid && row[3]);
  if (!found) tail.push(mine.map(([id, , , tree]) => ({ id, tree })));
  if (document.hidden) away.push(...mine);
};
live.addEventListener("changed", () => sections.refresh());
live.addEventListener("reset", () => found || location.reload());
if (found) {
  tail.done = true; // what was found is all there is to show
  tail.pause();
  document.querySelector(".e:target")?.scrollIntoView({ block: "center" });
} else running();

// Where the reader was when they looked away, and what they missed.
let away = [], left = 0;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { away = []; left = Date.now(); return; }
  sections.refresh();
  if (!away.length) return;
  const count = (...kinds) => away.filter((row) => kinds.includes(row[2])).length;
  const parts = [[count("tool_use"), "tool"], [count("message"), "message"], [count("dead", "stderr"), "error"]];
  const text = parts.map(([n, word]) => `${n || "no"} ${word}${n === 1 ? "" : "s"}`).join(", ");
  const first = away[0][0], mark = document.createElement("div");
  mark.className = "seen";
  mark.textContent = `you were here ${new Date(left).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })} · ${text}`;
  const put = () => {
    const row = [...log.querySelectorAll("[data-id]")].find((el) => Number(el.dataset.id) >= first);
    if (!row) return;
    log.querySelector(".seen")?.remove();
    row.before(mark);
    tail.remeasure();
  };
  setTimeout(put, 600); // the rows that came while hidden are drawn first
});
