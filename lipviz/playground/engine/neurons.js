/**
 * What each neuron of a network computes over the plane, and how strongly it depends on those before it.
 *
 * @typedef {import("./matrix.js").Matrix} Matrix
 * @typedef {import("./network.js").Used} Used
 *
 * @typedef {object} Neurons
 * @property {number} side Rows and columns of the grid.
 * @property {Matrix[]} layers Of shape (places of the grid, neurons): inputs, hidden layers behind their activations,
 *   and the score.
 * @property {Matrix[]} kernels Of shape (neurons, units of the next layer before its activation).
 *
 * @typedef {object} Link
 * @property {number} from Number of a neuron.
 * @property {number} to Number of a neuron of the next layer.
 * @property {number} weight
 * @property {number} share Its size as a share of the largest one between these layers.
 */

import { gridOf } from "./field.js";
import { run } from "./network.js";

/**
 * The outputs of all neurons on a grid.
 *
 * @param {Used} network
 * @param {number} side
 * @param {number} extent
 * @returns {Neurons}
 */
export function neuronsOf(network, side, extent) {
  const { inputs, outputs } = run(network, gridOf(side, extent));
  return { side, layers: [...inputs, outputs[outputs.length - 1]], kernels: network.kernels };
}

/**
 * The output of one neuron, as a field.
 *
 * @param {Neurons} neurons
 * @param {number} layer
 * @param {number} number
 * @param {number} extent
 * @returns {import("./contour.js").Field}
 */
export function fieldOf({ side, layers }, layer, number, extent) {
  const { cols, data } = layers[layer];
  return { side, extent, scores: Float64Array.from({ length: side * side }, (_, i) => data[i * cols + number]) };
}

/**
 * The weights between a layer and the next one. A unit from which an activation makes two neurons leads to both.
 *
 * @param {Neurons} neurons
 * @param {number} layer
 * @returns {Link[]}
 */
export function linksOf({ layers, kernels }, layer) {
  const { rows, cols, data } = kernels[layer];
  const largest = data.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0) || 1;
  return Array.from({ length: rows * layers[layer + 1].cols }, (_, i) => {
    const [from, to] = [i % rows, Math.floor(i / rows)];
    const weight = data[from * cols + (to % cols)];
    return { from, to, weight, share: Math.abs(weight) / largest };
  });
}
