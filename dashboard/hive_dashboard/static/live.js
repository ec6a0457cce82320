// One connection for all tabs of a browser: the tab that holds the lock reads the stream and
// tells the others. Resumes by event id; says how old the last sign of life is.
import { BASE, setNow } from "./dom.js";

const PING_LATE = 25000, LONGEST = 15000;
export const UNANSWERED = "The dashboard did not answer. It may be done all the same: look before you try again. Your text is kept.";

export class Live extends EventTarget {
  // `stream`: uid whose rows are wanted, or ""; `after`: id of the last event the page shows.
  // `onRows` may be set to hear of new rows.
  constructor(stream, after) {
    super();
    this.tab = crypto.getRandomValues(new Uint32Array(2)).join("-");
    this.stream = stream;
    this.last = after;
    this.heard = 0; // when the last sign of life came, by performance.now()
    this.wants = new Map(); // of the leader: each tab's, with the id up to which it was served
    this.sent = null; // and where its stream stands
    this.wait = 250;
    this.channel = new BroadcastChannel("hive");
    this.channel.onmessage = ({ data }) => this.told(data);
    this.untold = []; // what the other tabs are yet to hear, in order
    addEventListener("pagehide", () => this.say({ t: "bye", tab: this.tab }));
    addEventListener("pageshow", (event) => event.persisted && this.say(this.want()));
    for (const name of ["visibilitychange", "online"]) addEventListener(name, () => this.check(), true);
    setInterval(() => this.check(), 2000);
    if (navigator.locks) navigator.locks.request("hive-stream", () => this.lead());
    else this.lead(); // plain http on a LAN has no locks: a connection of its own
    this.say(this.want());
  }

  want() { return { t: "want", tab: this.tab, stream: this.stream, after: this.last }; }
  say(message) { this.untold.push(message); this.tell(); }

  // After this tab is drawn; a timer of a hidden tab would be late.
  sayLater(message) {
    if (this.untold.push(message) === 1 && !document.hidden) setTimeout(() => this.tell());
    if (document.hidden) this.tell();
  }

  tell() { for (const message of this.untold.splice(0)) this.channel.postMessage(message); }

  told(m) {
    if (m.t === "rows") this.rows(m.rows);
    else if (m.t === "ping") this.ping(m.data);
    else if (m.t === "reset") this.begin(m.data);
    else if (m.t === "changed" || m.t === "out" || m.t === "full") this.emit(m.t, m.data);
    else if (m.t === "who") this.say(this.want());
    else if (this.leads && m.t === "want") this.add(m);
    else if (this.leads && m.t === "bye") this.wants.delete(m.tab);
  }

  // The ids that this page has say nothing any more.
  begin(data) {
    this.last = null;
    for (const w of this.wants.values()) w.after = null; // or the next stream would begin there again
    this.emit("reset", data);
  }

  emit(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }

  rows(rows) {
    const fresh = rows.filter((row) => this.last === null || row[0] > this.last);
    if (!fresh.length) return;
    this.last = fresh[fresh.length - 1][0];
    this.onRows?.(fresh); // called straight, as an event costs as much as to parse them
  }

  ping(data) {
    this.heard = performance.now();
    setNow(data.now);
    this.emit("ping", data);
  }

  get age() { return this.heard ? performance.now() - this.heard : Infinity; }

  // -- the leader ----------------------------------------------------------------------------

  lead() {
    this.leads = true;
    this.say({ t: "who" });
    this.wants.set(this.tab, this.want());
    setTimeout(() => this.open(), 60); // time for the other tabs to say what they want
    return new Promise(() => {}); // holds the lock as long as the tab lives
  }

  add(want) {
    const had = new Set([...this.wants.values()].map((w) => w.stream));
    this.wants.set(want.tab, want);
    const behind = want.after !== null && this.sent !== null && want.after < this.sent;
    if (this.source && ((want.stream && !had.has(want.stream)) || behind)) this.open();
    else if (this.heard) this.say({ t: "ping", data: this.lastPing });
  }

  passed(id) {
    this.sent = id;
    for (const w of this.wants.values()) w.after = Math.max(w.after ?? 0, id);
  }

  open() {
    clearTimeout(this.timer);
    this.source?.close();
    this.wants.set(this.tab, this.want());
    const wants = [...this.wants.values()], afters = wants.map((w) => w.after).filter((a) => a !== null);
    const query = new URLSearchParams();
    this.sent = afters.length ? Math.min(...afters) : null;
    if (afters.length) query.set("after", this.sent);
    const streams = [...new Set(wants.map((w) => w.stream).filter(Boolean))];
    if (streams.length) query.set("stream", streams.join(","));
    const source = (this.source = new EventSource(`${BASE}/events?${query}`));
    this.opened = performance.now();
    const share = (t, use) => source.addEventListener(t, (event) => {
      if (source !== this.source) return;
      const data = JSON.parse(event.data);
      this.wait = 250;
      this.heard = performance.now();
      use(data);
    });
    share("ping", (data) => { this.sent ??= data.last; this.lastPing = data; this.ping(data); this.say({ t: "ping", data }); });
    share("rows", (rows) => { this.passed(rows[rows.length - 1][0]); this.rows(rows); this.sayLater({ t: "rows", rows }); });
    share("changed", (data) => { this.say({ t: "changed", data }); this.emit("changed", data); });
    share("reset", (data) => { this.say({ t: "reset", data }); this.begin(data); });
    source.onerror = () => { if (source === this.source) this.later(); };
  }

  // EventSource gives up for ever after one bad answer: we never let it retry by itself.
  async later() {
    this.source?.close();
    this.source = null;
    clearTimeout(this.timer);
    const wait = this.wait * (0.7 + 0.6 * Math.random());
    this.wait = Math.min(LONGEST, this.wait * 2);
    this.timer = setTimeout(() => this.open(), wait);
    try {
      const answer = await fetch(BASE + "/api/session", { headers: { Accept: "application/json" } });
      if (answer.status === 401) { this.say({ t: "out" }); this.emit("out"); }
      const data = answer.ok && (await answer.json()).no_room;
      if (data) { this.say({ t: "full", data }); this.emit("full", data); }
    } catch { /* the dashboard is away; the timer goes on */ }
  }

  check() {
    this.emit("age");
    if (!this.leads || !this.source || document.hidden) return;
    const since = performance.now() - Math.max(this.heard, this.opened);
    if (since > PING_LATE) this.open();
  }
}

// The badge: green only while pings come and what changed could be drawn.
export function showLive(live, sections) {
  const show = () => {
    const el = document.getElementById("live");
    if (!el) return;
    const age = live.age / 1000, ok = age < 25 && !sections.failed;
    el.className = `live num s-${ok ? "ok" : "bad"}`;
    const word = ok ? "L1VE" : Number.isFinite(age) ? "ST4LE" : "C0NNECTING";
    const more = Number.isFinite(age) ? `${live.last === null ? "" : `id ${live.last} · `}${age < 10 ? age.toFixed(1) : Math.round(age)}s` : "";
    const [b, small] = el.children;
    if (b.textContent !== word) b.textContent = word;
    if (small) small.textContent = more;
    el.setAttribute("aria-label", ok ? "live" : age < 25 ? "stale: the page could not be read anew" : "stale: no sign of life from the dashboard");
  };
  for (const name of ["ping", "age"]) live.addEventListener(name, show);
  setInterval(show, 1000);
  show();
  let full = null;
  live.addEventListener("full", ({ detail }) => { if (full?.textContent !== detail || !full.isConnected) full = say(detail, "bad"); });
  live.addEventListener("ping", () => { full?.remove(); full = null; });
  live.addEventListener("out", () => say("You are logged out. Open the page again to log in; what you typed is kept.", "bad"));
}

export function say(text, kind) {
  const box = document.getElementById("notices");
  const p = document.createElement("p");
  p.className = `notice s-${kind}`;
  p.textContent = text;
  box.replaceChildren(p);
  clearTimeout(say.timer);
  if (kind === "ok") say.timer = setTimeout(() => p.remove(), 8000);
  return p;
}
