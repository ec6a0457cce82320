import { startClocks } from "./dom.js";
import { startForms } from "./forms.js";
import { startKeys } from "./keys.js";
import { Live, showLive } from "./live.js";
import { Sections } from "./page.js";
import { startReview } from "./review.js";

const { cursor } = document.body.dataset;
const clocks = startClocks();
const flow = () => document.getElementById("flow");
let following = true;

const sections = new Sections("/api/swarm", (state) => {
  document.title = state.title;
  clocks();
  review();
  if (following && flow()) flow().scrollTop = flow().scrollHeight;
});
const review = startReview();

function bottom() {
  const el = flow();
  if (!el) return;
  el.scrollTop = el.scrollHeight;
  el.addEventListener("scroll", () => {
    following = el.scrollHeight - el.scrollTop - el.clientHeight < 32;
  }, { passive: true });
}

startForms(() => sections.refresh());
startKeys();
bottom();

const live = new Live("", cursor ? Number(cursor) : null);
showLive(live);
live.addEventListener("changed", () => sections.refresh());
live.addEventListener("reset", () => sections.refresh());
document.addEventListener("visibilitychange", () => document.hidden || sections.refresh());
