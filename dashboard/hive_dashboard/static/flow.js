// The flow of messages: follows its end until the reader goes up; a line says where they were,
// a pill how many are new.
import { make } from "./dom.js";

const SEEN = "hive-flow-seen";

export class Flow {
  constructor() {
    this.following = true;
    this.el = document.getElementById("flow");
    if (!this.el) return;
    this.pill = make("button", "", "pill");
    this.pill.type = "button";
    this.pill.hidden = true;
    this.pill.dataset.xOwn = "";
    this.pill.addEventListener("click", () => { this.following = true; this.drawn(); });
    this.el.after(this.pill);
    this.seen = Number(localStorage.getItem(SEEN) ?? 0);
    this.mark(this.seen);
    this.drawn();
    this.el.addEventListener("scroll", () => {
      this.following = this.el.scrollHeight - this.el.scrollTop - this.el.clientHeight < 32;
      if (this.following) this.caughtUp();
    }, { passive: true });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.away = this.last;
      else if (this.away) { this.mark(this.away); this.away = 0; this.drawn(); }
    });
  }

  get rows() { return [...this.el.querySelectorAll("[id^=m]")].map((el) => ({ el, id: Number(el.id.slice(1)) })); }
  get last() { return this.rows.at(-1)?.id ?? 0; }

  // A line above the first message after `id`.
  mark(id) {
    this.el.querySelector(".seen")?.remove();
    const next = id && this.rows.find((row) => row.id > id);
    if (!next) return;
    const line = make("div", "you were here", "seen");
    line.dataset.xOwn = "";
    next.el.before(line);
  }

  // The server's rows are there.
  drawn() {
    if (!this.el) return;
    if (this.following) {
      this.el.scrollTop = this.el.scrollHeight;
      return this.caughtUp();
    }
    const n = this.rows.filter((row) => row.id > this.seen).length;
    this.pill.hidden = !n;
    this.pill.textContent = `↓ ${n} new`;
  }

  caughtUp() {
    this.pill.hidden = true;
    if (document.hidden) return;
    this.seen = this.last;
    localStorage.setItem(SEEN, this.seen);
  }
}

// @name at the start of a message picks whom it goes to.
export function startAt() {
  document.addEventListener("input", ({ target }) => {
    const to = target.closest?.(".compose")?.querySelector("select[name=to]");
    const found = to && target.localName === "textarea" && /^@([a-z][a-z0-9-]*)\s/.exec(target.value);
    if (!found || ![...to.options].some((o) => o.value === found[1])) return;
    to.value = found[1];
    to.dispatchEvent(new Event("change"));
    target.value = target.value.slice(found[0].length);
  });
}
