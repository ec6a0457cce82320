// Fetches the sections that changed and draws them over the old ones.
import { BASE, patch, setNow } from "./dom.js";
import { restore } from "./forms.js";

const AGAIN = 3000; // milliseconds until what failed is asked for again

export class Sections {
  constructor(url, onState) {
    this.url = url;
    this.have = new Map();
    this.onState = onState;
  }

  // One fetch at a time; what changes meanwhile is fetched after it.
  refresh() {
    if (this.running) { this.again = true; return this.running; }
    this.running = this.fetch().finally(() => {
      this.running = null;
      if (this.again) { this.again = false; this.refresh(); }
    });
    return this.running;
  }

  async fetch() {
    const have = [...this.have].map(([name, hash]) => `${name}:${hash}`).join(",");
    try {
      const answer = await fetch(`${BASE}${this.url}?have=${have}`, { headers: { Accept: "application/json" } });
      this.failed = !answer.ok;
      if (answer.status >= 500) this.later();
      if (!answer.ok) return;
      const state = await answer.json();
      setNow(state.now);
      for (const [name, [hash, tree]] of Object.entries(state.sections)) {
        const el = document.getElementById(`sec-${name}`);
        if (!el) continue;
        if (el.localName === tree[0]) patch(el, tree);
        this.have.set(name, hash);
        restore(el);
      }
      this.onState?.(state);
    } catch {
      this.failed = true; // the live badge says so
      this.later();
    }
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), AGAIN);
  }
}
