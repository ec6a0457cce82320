// The code stands after #, where no server and no log sees it.
import { BASE } from "./dom.js";
function logIn() {
  const code = location.hash.slice(1);
  if (!code) return false;
  history.replaceState(null, "", location.pathname + location.search);
  const input = document.getElementById("code");
  input.value = code;
  input.form.requestSubmit();
  return true;
}
addEventListener("hashchange", logIn); // a link opened while this page is shown
if (!logIn()) {
  // A strict cookie is not sent along when another page links here: it may be there after all.
  fetch(BASE + "/api/session", { headers: { Accept: "application/json" } }).then((answer) => {
    if (answer.ok) location.replace(BASE + document.querySelector("input[name=next]").value);
  });
}
