import { startClocks } from "./dom.js";
import { startReview } from "./review.js";

startClocks();
startReview()();
