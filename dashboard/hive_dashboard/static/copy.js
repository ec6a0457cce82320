// One button, beside the row or the file that the pointer is on, copies its text.
import { make } from "./dom.js";

export function startCopy() {
  if (!navigator.clipboard) return; // plain http on a LAN has none
  const button = make("button", "copy", "copy");
  button.type = "button";
  button.dataset.xOwn = "";
  const at = ({ target }) => {
    const place = target.closest?.(".e,.diff > .fh");
    if (!place || place === button.parentElement) return;
    button.textContent = "copy";
    place.append(button);
  };
  document.addEventListener("pointerover", at, { passive: true });
  document.addEventListener("focusin", at);
  button.addEventListener("click", async (event) => {
    event.preventDefault(); // in a summary it would fold the file
    await navigator.clipboard.writeText(text(button.parentElement));
    button.textContent = "copied";
  });
}

function text(place) {
  if (!place.matches(".fh")) return place.querySelector(":scope > div").innerText;
  const line = (dl) => (dl.classList.contains("a") ? "+" : dl.classList.contains("d") ? "-" : " ") + dl.querySelector(".cd").textContent;
  return [...place.parentElement.querySelectorAll(".dl:not(.h)")].map(line).join("\n");
}
