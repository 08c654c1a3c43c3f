/** Prints, as JSON, what the page's challenges are called and begin with, and their goals. */

import { CHALLENGES, DISC_GOAL, FOOL_GOAL, RELU_GOAL } from "../../lipviz/playground/engine/challenges.js";

const known = Object.entries(CHALLENGES).map(([key, { name, title, presets }]) => [key, { name, title, presets }]);
process.stdout.write(JSON.stringify({ challenges: Object.fromEntries(known), goals: [DISC_GOAL, FOOL_GOAL, RELU_GOAL] }));
