// The prompt of an agent: what starts with / is a command, offered as one types; ↑ brings
// back what was sent before.
import { BASE } from "./dom.js";
import { say, UNANSWERED } from "./live.js";

const COMMANDS = [["/cancel", "stop this turn, keep the session"], ["/compact", "shrink the context now"],
  ["/clear", "new session; the history stays readable here"], ["/new-session", "the same, without what waits"],
  ["/model", "another model, by name"], ["/help", "what every command does"]];
const KEPT = 30;

export function startPrompt(name) {
  const form = document.getElementById("f-prompt");
  if (!form) return;
  const box = form.elements.body, menu = makeMenu(form);
  const key = `hive-sent:${name}`;
  let at = 0, chosen = 0;

  const found = () => (/^\/[a-z-]*$/.test(box.value) ? COMMANDS.filter(([c]) => c.startsWith(box.value)) : []);
  const show = () => {
    const rows = found();
    chosen = Math.min(chosen, Math.max(0, rows.length - 1));
    menu.hidden = !rows.length;
    menu.replaceChildren(...rows.map(([command, what], i) => option(command, what, i === chosen)));
  };
  const take = () => { box.value = found()[chosen][0]; show(); };

  box.addEventListener("input", () => { at = 0; show(); });
  box.addEventListener("blur", () => setTimeout(() => { menu.hidden = true; }, 150));
  menu.addEventListener("click", ({ target }) => {
    const row = target.closest("[role=option]");
    if (row) { chosen = [...menu.children].indexOf(row); take(); box.focus(); }
  });
  box.addEventListener("keydown", (event) => {
    const rows = menu.hidden ? [] : found(), step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (rows.length && step) {
      event.preventDefault();
      chosen = (chosen + step + rows.length) % rows.length;
      show();
    } else if (rows.length && (event.key === "Tab" || (event.key === "Enter" && box.value !== rows[chosen][0]))) {
      event.preventDefault();
      event.stopPropagation();
      take();
    } else if (event.key === "Escape" && rows.length) {
      event.stopPropagation(); // it is no half of the two that cancel the turn
      menu.hidden = true;
    } else if (step && (box.value === "" || at)) {
      const sent = JSON.parse(localStorage.getItem(key) ?? "[]"), next = Math.min(sent.length, Math.max(0, at - step));
      if (next === at) return;
      event.preventDefault();
      at = next;
      box.value = at ? sent[at - 1] : "";
    }
  });
  form.addEventListener("submit", (event) => {
    const text = box.value.trim(), command = text.match(/^\/([a-z-]+)(?:\s+(.*))?$/);
    at = 0;
    if (!command) return remember(key, text);
    event.preventDefault(); // it may take minutes, and the prompt is free meanwhile
    event.stopPropagation();
    if (!COMMANDS.some(([c]) => c === `/${command[1]}`))
      return say(`There is no command /${command[1]}. There are: ${COMMANDS.map(([c]) => c).join(" ")}`, "bad");
    run(name, box, command[1], command[2]);
  });
}

function remember(key, text) {
  const sent = JSON.parse(localStorage.getItem(key) ?? "[]").filter((old) => old !== text);
  localStorage.setItem(key, JSON.stringify([text, ...sent].slice(0, KEPT)));
}

function makeMenu(form) {
  const menu = document.createElement("div");
  menu.className = "slash";
  menu.id = "slash";
  menu.hidden = true;
  menu.setAttribute("role", "listbox");
  menu.setAttribute("aria-label", "commands");
  form.before(menu);
  return menu;
}

function option(command, what, on) {
  const row = document.createElement("div"), b = document.createElement("b"), span = document.createElement("span");
  row.setAttribute("role", "option");
  row.setAttribute("aria-selected", String(on));
  b.textContent = command;
  span.className = "dim";
  span.textContent = what;
  row.append(b, span);
  return row;
}

async function run(name, box, command, argument) {
  if ("xSending" in box.dataset) return;
  box.dataset.xSending = "";
  const sent = box.value;
  const body = new URLSearchParams({ command, ...(argument ? { argument } : {}) });
  try {
    const answer = await fetch(`${BASE}/a/${name}/command`, { method: "POST", body, headers: { Accept: "application/json" } });
    const said = await answer.json();
    if (answer.ok && box.value === sent) box.value = "";
    say(said.ok ?? said.error, answer.ok ? "ok" : "bad");
  } catch { say(UNANSWERED, "bad"); }
  delete box.dataset.xSending;
}
