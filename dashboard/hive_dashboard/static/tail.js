// The log of an agent: one writer per animation frame (what comes alone is drawn at once, and
// scrolled to in the frame), a budget of rows, a hard cap. Follows
// the end until the reader means to go elsewhere; then nothing moves under their eyes.
// Finished chunks get their exact height, so content-visibility cannot shift the page.
const CAP = 1500, CHUNK = 50, BUDGET_MS = 6, PER_FRAME = 200, ALONE_MS = 50;

export class Tail {
  // `make(row)` gives an element; `history(before)` older rows; `onUnseen(n)`, `onSkip(n)`.
  constructor(el, { make, history, onUnseen, onSkip, onDrawn }) {
    Object.assign(this, { el, make, history, onUnseen, onSkip, onDrawn });
    this.queue = [];
    this.chunks = [];
    this.rows = 0;
    this.follow = true;
    this.unseen = 0;
    this.skipped = 0;
    this.lastTop = 0;
    this.meantAt = -1e9;
    this.drawnAt = -1e9;
    this.width = el.clientWidth;
    this.listen();
    this.adopt();
  }

  listen() {
    const { el } = this, meant = () => { this.meantAt = performance.now(); };
    el.addEventListener("scroll", () => this.scrolled(), { passive: true });
    for (const name of ["touchmove", "pointerdown", "keydown"]) el.addEventListener(name, meant, { passive: true });
    // On the intent, before the browser scrolls: a busy log must not win the race.
    el.addEventListener("wheel", (event) => {
      meant();
      if (event.deltaY < 0 && this.follow && el.scrollHeight > el.clientHeight) this.pause();
    }, { passive: true });
    el.addEventListener("keydown", (event) => {
      if (["PageUp", "ArrowUp", "Home"].includes(event.key) && this.follow) this.pause();
      if (event.key === "End") { event.preventDefault(); this.resume(); }
    });
    new ResizeObserver(() => {
      if (el.clientWidth !== this.width) {
        this.width = el.clientWidth;
        this.chunks.forEach(unseal);
        this.sealSoon();
      }
      if (this.follow) this.toBottom();
    }).observe(el);
  }

  // The rows that came with the page are the first chunk.
  adopt() {
    const rows = [...this.el.querySelectorAll(":scope > [data-id]")];
    if (rows.length) {
      const chunk = this.chunk(rows[0].dataset.id, true);
      chunk.el.append(...rows);
      chunk.n = rows.length;
      this.rows = rows.length;
      this.sealSoon();
    }
    this.toBottom();
  }

  chunk(first, old = false) {
    const el = document.createElement("div");
    el.className = "chunk";
    const chunk = { el, n: 0, first: Number(first), old };
    this.chunks.push(chunk);
    this.el.append(el);
    return chunk;
  }

  push(rows) {
    for (const row of rows) this.queue.push(row);
    this.kick();
  }

  kick() {
    if (this.frame) return;
    this.frame = true;
    const run = () => {
      this.frame = false;
      this.flush();
      this.scroll();
    };
    if (document.hidden) return setTimeout(run, 500);
    if (performance.now() - this.drawnAt > ALONE_MS) this.flush(); // what comes alone waits for no frame
    requestAnimationFrame(run);
  }

  get firstId() { return this.chunks[0]?.first; }
  get atBottom() { const e = this.el; return e.scrollHeight - e.scrollTop - e.clientHeight < 32; }

  flush() {
    const { queue } = this;
    if (queue.length > CAP) this.skip(queue.length - CAP);
    if (!this.follow && this.rows >= CAP) return this.count(); // nothing is taken from under the reader
    const start = performance.now(), made = [];
    while (made.length < queue.length && made.length < PER_FRAME && performance.now() - start < BUDGET_MS)
      made.push(this.make(queue[made.length]));
    for (let i = 0; i < made.length; ) {
      let chunk = this.chunks.at(-1);
      if (!chunk || chunk.old || chunk.n >= CHUNK) chunk = this.chunk(queue[i].id);
      const some = made.slice(i, i + CHUNK - chunk.n);
      chunk.el.append(...some);
      chunk.n += some.length;
      i += some.length;
    }
    this.rows += made.length;
    queue.splice(0, made.length);
    if (!this.follow) this.count(made.length);
    this.drawnAt = performance.now();
  }

  // Once a frame: whoever reads a position makes the browser lay the page out.
  scroll() {
    if (!this.queue.length) this.onDrawn?.();
    if (this.follow) {
      this.trim();
      this.toBottom();
    }
    this.sealSoon();
    if (this.queue.length && (this.follow || this.rows < CAP)) this.kick();
  }

  // Too much to draw: the rows are in the history, a mark says how many are not shown.
  skip(n) {
    this.queue.splice(0, n);
    this.skipped += n;
    if (this.follow) this.wipe();
    else { this.holed = true; this.unseen += n; } // what is drawn and what waits no longer meet
    this.onSkip?.(this.skipped);
  }

  wipe() {
    for (const chunk of this.chunks) chunk.el.remove();
    this.chunks = [];
    this.rows = 0;
    this.holed = false;
  }

  // How many rows the reader who looks elsewhere has not seen.
  count(more = 0) {
    this.unseen += more;
    const n = this.unseen + (this.rows >= CAP ? this.queue.length : 0);
    if (n) this.onUnseen?.(n);
  }

  trim() {
    while (this.rows > CAP && this.chunks.length > 2) {
      const chunk = this.chunks.shift();
      this.rows -= chunk.n;
      chunk.el.remove();
    }
  }

  toBottom() { this.el.scrollTop = 1e9; this.lastTop = this.el.scrollTop; }

  sealSoon() {
    this.sealing ??= setTimeout(() => {
      this.sealing = null;
      const done = this.chunks.filter((c, i) => !c.sealed && (c.old || (c.n >= CHUNK && i < this.chunks.length - 1)));
      const heights = done.map((c) => c.el.getBoundingClientRect().height);
      done.forEach((c, i) => {
        c.sealed = true;
        c.el.style.containIntrinsicSize = `auto none auto ${heights[i]}px`;
        c.el.style.contentVisibility = "auto";
      });
    }, 400);
  }

  // Heights changed (a filter, another width): measure again.
  remeasure() { this.chunks.forEach(unseal); this.sealSoon(); if (this.follow) this.toBottom(); }

  scrolled() {
    const { el } = this, up = el.scrollTop < this.lastTop - 1, meant = performance.now() - this.meantAt < 1500;
    this.lastTop = el.scrollTop;
    if (this.follow) { if (up && meant && !this.atBottom) this.pause(); }
    else if (this.atBottom && meant) this.resume();
    if (!this.follow && el.scrollTop < el.clientHeight * 2) this.older();
  }

  pause() { this.follow = false; }

  resume() {
    this.follow = true;
    this.unseen = 0;
    if (this.holed) this.wipe();
    this.onUnseen?.(0);
    this.trim();
    this.toBottom();
    this.kick();
  }

  async older() {
    if (this.busy || this.done || !this.firstId) return;
    this.busy = true;
    try {
      const rows = await this.history(this.firstId);
      if (!rows) return; // they could not be had now
      if (!rows.length) { this.done = true; return; }
      const { el } = this, box = document.createElement("div");
      box.className = "chunk";
      box.append(...rows.map(this.make));
      const height = el.scrollHeight, top = el.scrollTop;
      const first = this.chunks[0].el;
      el.insertBefore(box, first);
      this.chunks.unshift({ el: box, n: rows.length, first: rows[0].id, old: true });
      this.rows += rows.length;
      el.scrollTop = top + (el.scrollHeight - height);
      this.lastTop = el.scrollTop;
      this.sealSoon();
    } finally { this.busy = false; }
  }

  clear() {
    for (const chunk of this.chunks) chunk.el.remove();
    Object.assign(this, { chunks: [], rows: 0, queue: [], done: false });
  }
}

function unseal(chunk) {
  chunk.sealed = false;
  chunk.el.style.contentVisibility = "";
  chunk.el.style.containIntrinsicSize = "";
}
