/** Prints, as JSON, the code that the playground hands out for a list of addresses and a few steps. */

import { readFileSync } from "node:fs";

import { pythonCode } from "../../lipviz/playground/engine/code.js";
import { Playground } from "../../lipviz/playground/engine/playground.js";

function codeOf(address) {
  const { settings, points } = new Playground(address);
  return pythonCode(settings, points, 2);
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf-8")).map(codeOf)));
