import { startCopy } from "./copy.js";
import { startClocks } from "./dom.js";
import { startKeys } from "./keys.js";
import { startPalette } from "./palette.js";
import { startReview } from "./review.js";

startClocks();
startReview()();
startKeys();
startPalette();
startCopy();
