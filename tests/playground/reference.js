/**
 * Reads a list of cases, as JSON, from the standard input, and prints what the engine computes for each.
 *
 * A case has the settings of a network, `kind` and `seed` (see cases.js), and those of a loss.
 */

import { readFileSync } from "node:fs";

import { certify, radii } from "../../lipviz/playground/engine/certificate.js";
import { lossOf } from "../../lipviz/playground/engine/losses.js";
import { gradients, run, used } from "../../lipviz/playground/engine/network.js";
import { Training } from "../../lipviz/playground/engine/training.js";
import { drawnCase } from "./cases.js";

const STEPS = 3;

function rowsOf({ rows, cols, data }) {
  return Array.from({ length: rows }, (_, i) => Array.from(data.subarray(i * cols, (i + 1) * cols)));
}

function computed(settings) {
  const { network, x, labels } = drawnCase(settings);
  const now = used(network);
  const forward = run(now, x);
  const loss = lossOf(settings, forward.scores, labels);
  const certificate = certify(now);
  const slopes = gradients(now, forward, loss.gradient).layers;
  const before = weights(network.layers);
  return {
    x: rowsOf(x),
    labels,
    weights: before,
    scores: Array.from(forward.scores),
    loss: loss.value,
    gradients: weights(slopes),
    norms: certificate.norms,
    radii: Array.from(radii(certificate, forward.scores, x)),
    steps: STEPS,
    trained: trained(settings, network, x, labels),
  };
}

/** The weights after a few steps of Adam. */
function trained(settings, network, x, labels) {
  const training = new Training(settings, settings.seed);
  training.network.layers.forEach((layer, i) => {
    layer.kernel.data.set(network.layers[i].kernel.data);
    layer.bias.set(network.layers[i].bias);
  });
  for (let step = 0; step < STEPS; step++) training.step(x, labels);
  return weights(training.network.layers);
}

function weights(layers) {
  return layers.flatMap(({ kernel, bias }) => [rowsOf(kernel), Array.from(bias)]);
}

const cases = JSON.parse(readFileSync(0, "utf-8"));
/** JSON has no infinity. */
function written(_, value) {
  return typeof value !== "number" || Number.isFinite(value) ? value : String(value);
}

process.stdout.write(JSON.stringify(cases.map(computed), written));
