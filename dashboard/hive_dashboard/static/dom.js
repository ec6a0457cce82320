// Trees from the server ([tag, {attributes}, child, …]) become DOM; no string is ever parsed.
export const BASE = document.documentElement.dataset.base ?? ""; // where a proxy has the pages
const SVG = new Set(["svg", "rect", "circle", "path", "g"]);
const NS = "http://www.w3.org/2000/svg";
const OWN = new Set(["open", "value", "checked", "selected"]); // once there, the reader's
const BAD = /^(on|style$|srcdoc$)/i;
const LINK = /^(\/(?!\/)|#|\?|https?:\/\/|mailto:)/i;

export function build(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [tag, attrs, ...children] = tree;
  const el = SVG.has(tag) ? document.createElementNS(NS, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) put(el, name, value);
  for (const child of children) el.append(build(child));
  if (el.dataset.at || el.dataset.since || el.dataset.until) tick(el);
  return el;
}

function put(el, name, value) {
  if (BAD.test(name)) return;
  if ((name === "href" || name === "action") && !LINK.test(value)) return;
  if (el.getAttribute(name) !== value) el.setAttribute(name, value);
}

// Makes `el` look like `tree`, keeping elements, what was typed, the focus and what is open.
export function patch(el, tree) {
  const [, attrs, ...children] = tree;
  if ("keep" in el.dataset) return;
  for (const { name } of [...el.attributes])
    if (!(name in attrs) && !OWN.has(name) && !name.startsWith("data-x-") && name !== "stroke-dasharray") el.removeAttribute(name);
  for (const [name, value] of Object.entries(attrs)) if (!OWN.has(name)) put(el, name, value);
  // What a button carries (the effect that it approves) is what was looked at, never what
  // came in under the pointer: the newer value waits until the server said what changed.
  if (el.type === "hidden" && attrs.value !== el.value) el.dataset.xNext = attrs.value;
  if (el.dataset.ring) return ring(el);
  if (el.dataset.at || el.dataset.since || el.dataset.until) return tick(el);
  if (el.localName === "textarea") return;
  patchChildren(el, children);
}

function patchChildren(el, children) {
  const named = new Map();
  for (const child of el.children) if (child.id) named.set(child.id, child);
  const wanted = new Set(children.map((c) => c[1]?.id).filter(Boolean));
  for (const [id, child] of named) if (!wanted.has(id)) leave(child, named);
  let at = el.firstChild;
  const skip = () => { while (at && mine(at)) at = at.nextSibling; };
  for (const tree of children) {
    skip();
    const id = typeof tree === "string" ? "" : tree[1].id ?? "";
    let node = id ? named.get(id) : at && fits(at, tree) ? at : null;
    if (node && node !== at) el.insertBefore(node, at);
    if (node && fits(node, tree)) {
      if (typeof tree === "string") { if (node.data !== tree) node.data = tree; }
      else patch(node, tree);
    } else {
      const fresh = build(tree);
      if (node) node.replaceWith(fresh); else el.insertBefore(fresh, at);
      node = fresh;
    }
    at = node.nextSibling;
  }
  while (at) {
    const next = at.nextSibling;
    if (!mine(at)) at.remove();
    at = next;
  }
}

// What scripts put among the server's elements, and what was typed in and settled meanwhile.
const mine = (node) => node.nodeType === 1 && ("xGone" in node.dataset || "xOwn" in node.dataset);

function fits(node, tree) {
  if (typeof tree === "string") return node.nodeType === 3;
  return node.nodeType === 1 && node.localName === tree[0] && node.id === (tree[1].id ?? "");
}

// What goes away while somebody types in it stays, marked, until it is left empty.
function leave(el, named) {
  named.delete(el.id);
  const typed = [...el.querySelectorAll("textarea")].some((t) => t.value.trim() && t.value !== t.defaultValue);
  if (!typed) return el.remove();
  if ("xGone" in el.dataset) return;
  el.dataset.xGone = "";
  const note = document.createElement("p");
  note.className = "dim";
  note.textContent = "This was settled meanwhile; your text is kept here to copy.";
  el.append(note);
}

// -- times ---------------------------------------------------------------------------------

let skew = 0; // seconds that our clock is ahead of the server's
// Dark, light, or as the system has it.
const root = document.documentElement;
export function theme(next) {
  if (next !== undefined) localStorage.setItem("hive-theme", next);
  const name = localStorage.getItem("hive-theme");
  if (name) root.dataset.xTheme = name; else delete root.dataset.xTheme;
}
theme();

export const make = (tag, text = "", name = "") => {
  const el = document.createElement(tag);
  if (text) el.textContent = text;
  if (name) el.className = name;
  return el;
};

export let utc = localStorage.getItem("hive-utc") === "1";
export function setNow(now) { if (now) skew = Date.now() / 1000 - Number(now); }
export function serverNow() { return Date.now() / 1000 - skew; }

const formats = new Map(); // to make one costs more than a row
function format(short) {
  const key = `${short} ${utc}`;
  if (!formats.has(key)) {
    const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    if (!short) options.second = "2-digit";
    if (utc) options.timeZone = "UTC";
    formats.set(key, new Intl.DateTimeFormat("en-GB", options));
  }
  return formats.get(key);
}

export const clock = (el) => format("short" in el.dataset).format(el.dataset.at * 1000);

export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds)), pad = (n) => String(n).padStart(2, "0");
  if (s < 3600) return `${Math.floor(s / 60)}:${pad(s % 60)}`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${pad(Math.floor((s % 3600) / 60))}`;
  return `${Math.floor(s / 86400)}d ${Math.floor((s % 86400) / 3600)}h`;
}

export function tick(el) {
  let text;
  if (el.dataset.at) text = clock(el);
  else if (el.dataset.since) text = span(serverNow() - el.dataset.since);
  else text = span(el.dataset.until - serverNow());
  if (el.textContent !== text) el.textContent = text;
}

// What is left of a time, as a part of a circle.
function ring(el) {
  const [from, until] = el.dataset.ring.split(" ").map(Number);
  const left = Math.max(0, Math.min(1, (until - serverNow()) / Math.max(1, until - from)));
  el.setAttribute("stroke-dasharray", `${(100 * left).toFixed(1)} 100`);
}

const ages = () => {
  document.querySelectorAll("[data-since],[data-until]").forEach(tick);
  document.querySelectorAll("[data-ring]").forEach(ring);
};
export function startClocks() {
  const zone = document.getElementById("zone");
  const all = () => {
    document.querySelectorAll("[data-at]").forEach(tick);
    const button = document.getElementById("zone");
    if (button) {
      button.hidden = false;
      button.textContent = utc ? "UTC" : new Date().toLocaleTimeString("en-GB", { timeZoneName: "short" }).split(" ").pop();
    }
  };
  all(); ages();
  setInterval(ages, 1000);
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#zone")) return;
    utc = !utc;
    localStorage.setItem("hive-utc", utc ? "1" : "0");
    all();
  });
  return all;
}
