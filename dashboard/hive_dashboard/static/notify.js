// How many things wait: in the title, in the icon, and, for who asked for it, as a notification.
import { say } from "./live.js";

const KEY = "hive-notify";
let last = null;

export async function askToNotify() {
  if (localStorage.getItem(KEY)) {
    localStorage.removeItem(KEY);
    return say("Notifications are off.", "ok");
  }
  if ((await Notification.requestPermission()) !== "granted")
    return say("The browser does not let this page notify you; its settings for this site say why.", "bad");
  localStorage.setItem(KEY, "1");
  say("You are told when something new needs you and this page is not in front.", "ok");
}

// `leads`: one tab of a browser tells.
export function showCount(state, leads) {
  document.title = state.title;
  const icon = document.querySelector("link[rel=icon]");
  const href = icon.href.replace(/icon[^/]*\.svg$/, state.icon);
  if (icon.href !== href) icon.href = href;
  const more = last !== null && state.count > last;
  last = state.count;
  if (!more || !leads || !document.hidden || !localStorage.getItem(KEY) || Notification.permission !== "granted") return;
  const card = document.querySelector("#sec-need [data-jump]");
  const note = new Notification(`${state.count} need you`, { body: card?.querySelector("b").textContent ?? "", tag: "hive" });
  note.onclick = () => { focus(); note.close(); };
}
