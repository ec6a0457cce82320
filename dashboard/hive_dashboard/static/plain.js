import { startCopy } from "./copy.js";
import { startClocks } from "./dom.js";
import { forget, startTyping } from "./forms.js";
import { startKeys } from "./keys.js";
import { startPalette } from "./palette.js";
import { startReview } from "./review.js";

startClocks();
startReview()();
startTyping();
// What is sent goes with its form; what is refused comes back in the page.
document.addEventListener("submit", ({ target, defaultPrevented }) => defaultPrevented || forget(target));
startKeys();
startPalette();
startCopy();
