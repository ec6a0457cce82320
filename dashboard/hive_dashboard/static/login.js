// The code stands after #, where no server and no log sees it.
import { BASE } from "./dom.js";
const code = location.hash.slice(1);
if (code) {
  history.replaceState(null, "", location.pathname + location.search);
  const input = document.getElementById("code");
  input.value = code;
  input.form.requestSubmit();
} else {
  // A strict cookie is not sent along when another page links here: it may be there after all.
  fetch(BASE + "/api/session", { headers: { Accept: "application/json" } }).then((answer) => {
    if (answer.ok) location.replace(BASE + document.querySelector("input[name=next]").value);
  });
}
