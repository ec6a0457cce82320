// Trees from the server ([tag, {attributes}, child, …]) become DOM; no string is ever parsed.
export const BASE = document.documentElement.dataset.base ?? ""; // where a proxy has the pages
const SVG = new Set(["svg", "rect", "circle", "path", "g"]);
const NS = "http://www.w3.org/2000/svg";
const OWN = new Set(["open", "checked", "selected"]); // once there, the reader's
const BAD = /^(on|style$|srcdoc$)/i;
const LINK = /^(\/(?!\/)|#|\?|https?:\/\/|mailto:)/i;

export function build(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [tag, attrs, ...children] = tree;
  const el = SVG.has(tag) ? document.createElementNS(NS, tag) : document.createElement(tag);
  for (const name in attrs) put(el, name, attrs[name]);
  for (const child of children) el.append(build(child));
  if (isTimed(attrs)) tick(el);
  return el;
}

// As `build`, for what looks much like others of its class: a copy of the first one, made ready
// before it is needed, with what differs put in.
const moulds = new Map();
export function cast(tree) {
  const { class: kind } = tree[1], mould = moulds.get(kind);
  if (!mould) {
    const el = build(tree);
    moulds.set(kind, { tree, el: el.cloneNode(true) });
    return el;
  }
  if (!fitsIn(mould.tree, tree)) return build(tree);
  const el = mould.ready ?? mould.el.cloneNode(true);
  alter(el, mould.tree, tree);
  mould.ready = null;
  mould.timer ??= setTimeout(() => { mould.timer = null; mould.ready = mould.el.cloneNode(true); }, 50);
  return el;
}

function alter(el, from, to) {
  const attrs = to[1];
  for (const name in attrs) if (attrs[name] !== from[1][name]) put(el, name, attrs[name]);
  if (isTimed(attrs)) return tick(el);
  for (let i = 2, node = el.firstChild; i < to.length; i++) {
    const child = to[i], next = node.nextSibling;
    if (child !== from[i]) {
      if (!fitsIn(from[i], child)) node.replaceWith(build(child));
      else if (typeof child === "string") node.data = child;
      else alter(node, from[i], child);
    }
    node = next;
  }
}

// Whether what was built of `from` can be altered to look like `to`.
function fitsIn(from, to) {
  if (typeof from === "string" || typeof to === "string") return typeof from === typeof to;
  if (from[0] !== to[0] || from.length !== to.length) return false;
  for (const name in from[1]) if (!(name in to[1])) return false;
  return true;
}

const isTimed = (attrs) => "data-at" in attrs || "data-since" in attrs || "data-until" in attrs;

function put(el, name, value) {
  if (BAD.test(name)) return;
  if ((name === "href" || name === "action") && !LINK.test(value)) el.removeAttribute(name);
  else el.setAttribute(name, value);
}

// So is what they typed; what a button, a box or an option stands for is the server's.
const typed = (el) => el.localName === "input" && !/^(checkbox|radio|submit)$/.test(el.type);
const own = (el, name) => OWN.has(name) || (name === "value" && typed(el));

// Makes `el` look like `tree`, keeping elements, what was typed, the focus and what is open.
export function patch(el, tree) {
  const [, attrs, ...children] = tree;
  if ("keep" in el.dataset) return;
  for (const { name } of [...el.attributes])
    if (!(name in attrs) && !own(el, name) && !name.startsWith("data-x-") && name !== "stroke-dasharray") el.removeAttribute(name);
  for (const [name, value] of Object.entries(attrs)) if (!own(el, name) && el.getAttribute(name) !== value) put(el, name, value);
  // What a button carries (the effect that it approves) is what was looked at, never what
  // came in under the pointer: the newer value waits until the server said what changed.
  if (el.type === "hidden" && attrs.value !== el.value) el.dataset.xNext = attrs.value;
  if (el.dataset.ring) return ring(el);
  if (isTimed(attrs)) return tick(el);
  if (el.localName === "textarea") return;
  const chosen = el.value;
  patchChildren(el, children);
  if (el.localName === "select" && el.value !== chosen) el.value = chosen; // or nothing, if it is gone
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

const formats = new Map(), last = {}; // to make a format costs more than a row, to use it half of one
function clock(el) {
  const at = Math.floor(el.dataset.at), minute = Math.floor(at / 60);
  if (last.minute !== minute || last.utc !== utc) {
    if (!formats.has(utc)) formats.set(utc, new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(utc && { timeZone: "UTC" }) }));
    Object.assign(last, { minute, utc, text: formats.get(utc).format(minute * 60000) });
  }
  return "short" in el.dataset ? last.text : `${last.text}:${String(at % 60).padStart(2, "0")}`;
}

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
