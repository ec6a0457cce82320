// Forms without leaving the page: what was typed stays until it has arrived. Drafts survive
// a reload.
import { BASE } from "./dom.js";
import { say, UNANSWERED } from "./live.js";

const PREFIX = "hive-draft:";
const draftKey = (el) => `${PREFIX}${location.pathname}:${el.form?.dataset.form}:${el.name}`;

// A button that stops everybody wants a second of pressing; a key press is meant anyway.
function startPressing() {
  let since = Infinity;
  document.addEventListener("pointerdown", ({ target }) => { since = target.closest("[data-hold-press]") ? performance.now() : Infinity; });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-hold-press]") || !event.detail || performance.now() - since > 900) return;
    event.preventDefault();
    say("Hold it for a second: it pauses the turns of all agents.", "think");
  });
}

export function startForms(refresh) {
  startPressing();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.form || form.dataset.form === "logout") return;
    event.preventDefault();
    send(form, event.submitter, refresh);
  });
  startTyping();
  for (const el of document.querySelectorAll("[data-sticky]")) {
    const key = `hive-sticky:${el.dataset.sticky}`, old = localStorage.getItem(key);
    if (old && [...el.options].some((o) => o.value === old)) el.value = old;
    el.addEventListener("change", () => localStorage.setItem(key, el.value));
  }
}

// Of forms that lead to another page, too: the time of a question stands still, drafts are kept.
export function startTyping() {
  document.addEventListener("input", ({ target }) => {
    if ("draft" in (target.dataset ?? {})) save(target);
    const ttl = target.form?.querySelector("[data-hold]");
    if (ttl) hold(ttl);
  });
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (event.key !== "Enter" || event.isComposing || target.localName !== "textarea" || !target.form) return;
    const wanted = target.dataset.submit === "enter" ? !event.shiftKey : event.ctrlKey || event.metaKey;
    if (!wanted) return;
    event.preventDefault();
    target.form.requestSubmit();
  });
  restore(document);
}

// While somebody types, the time of a question stands still: told at most every 20 s.
const held = new Map();
async function hold(ttl) {
  const n = ttl.dataset.hold, now = performance.now();
  if (now - (held.get(n) ?? -Infinity) < 20000) return;
  held.set(n, now);
  const answer = await fetch(`${BASE}/questions/${n}/hold`, { method: "POST", headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.ok) {
    ttl.dataset.xHeld = "";
    ttl.title = "held while you type";
    setTimeout(() => delete ttl.dataset.xHeld, 60000);
  } else held.delete(n);
}

function save(el) {
  if (el.value.trim()) localStorage.setItem(draftKey(el), el.value);
  else localStorage.removeItem(draftKey(el));
}

export function forget(form) {
  for (const el of form.elements) if ("draft" in el.dataset) localStorage.removeItem(draftKey(el));
}

export function restore(root) {
  for (const el of root.querySelectorAll("[data-draft]")) {
    const kept = localStorage.getItem(draftKey(el));
    if (kept && !el.value) el.value = kept;
  }
}

async function send(form, submitter, refresh) {
  if ("xSending" in form.dataset) return; // Enter asks no button
  form.dataset.xSending = "";
  const data = new URLSearchParams(new FormData(form, submitter));
  const buttons = form.querySelectorAll("button");
  const texts = [...form.querySelectorAll("textarea,input[type=text]")].map((el) => [el, el.value]);
  for (const b of buttons) b.disabled = true;
  try {
    const answer = await fetch(form.getAttribute("action"), {
      method: "POST", body: data, headers: { Accept: "application/json" },
    });
    const said = await answer.json();
    if (answer.ok) {
      for (const el of form.querySelectorAll("select[data-draft]")) localStorage.removeItem(draftKey(el));
      for (const [el, sent] of texts) {
        if (el.value !== sent) continue; // the next words
        el.value = "";
        localStorage.removeItem(draftKey(el));
      }
      form.closest("details.deny,details.reply")?.removeAttribute("open");
      say(said.ok, "ok");
    } else if (answer.status === 409) {
      await refresh?.();
      moved(form, said);
    } else say(said.error, "bad").scrollIntoView({ block: "nearest" });
    await refresh?.();
  } catch {
    say(UNANSWERED, "bad");
  } finally {
    delete form.dataset.xSending;
    for (const b of buttons) b.disabled = false;
  }
}

// The effect is another than the one that was shown: say what changed, beside the proposal.
function moved(form, said) {
  for (const el of form.querySelectorAll("[data-x-next]")) {
    el.value = el.dataset.xNext;
    delete el.dataset.xNext;
  }
  for (const el of form.querySelectorAll("[name=looked]")) el.checked = false;
  for (const el of form.querySelectorAll("[name=allow_prune]")) el.value = "";
  delete form.dataset.xSure;
  const text = [said.error, ...(said.changed ?? [])].join(" → ");
  say(`It changed since you looked. Look again, then decide: ${text}`, "think").scrollIntoView({ block: "nearest" });
}
