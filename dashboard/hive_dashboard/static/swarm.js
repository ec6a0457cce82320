import { startCopy } from "./copy.js";
import { startClocks } from "./dom.js";
import { Flow, startAt } from "./flow.js";
import { startForms } from "./forms.js";
import { startKeys } from "./keys.js";
import { Live, showLive } from "./live.js";
import { showCount } from "./notify.js";
import { Sections } from "./page.js";
import { reveal, startPalette } from "./palette.js";
import { startReview } from "./review.js";

const { cursor } = document.body.dataset;
const clocks = startClocks();
const flow = new Flow();
const review = startReview();
const live = new Live("", cursor ? Number(cursor) : null);

const sections = new Sections("/api/swarm", (state) => {
  showCount(state, live.leads);
  clocks();
  review();
  reveal();
  flow.drawn();
});

startForms(() => sections.refresh());
startAt();
startKeys();
startPalette();
startCopy();
showLive(live, sections);
live.addEventListener("changed", () => sections.refresh());
live.addEventListener("reset", () => sections.refresh());
document.addEventListener("visibilitychange", () => document.hidden || sections.refresh());
