/**
 * Activations that act on the rows of a matrix.
 *
 * @typedef {import("./matrix.js").Matrix} Matrix
 *
 * @typedef {object} Activation
 * @property {string} title Name of the lipviz or Keras layer.
 * @property {number} growth Number of output channels for each input channel.
 * @property {boolean} sharesK Whether lipviz gives the layer a share of k, by which it multiplies.
 * @property {(x: Matrix) => Matrix} apply
 * @property {(x: Matrix, upstream: Matrix) => Matrix} pullBack Gradient of <upstream, apply(x)> with respect to x.
 */

import { mapped, zeros } from "./matrix.js";

/** @type {Activation} */
const relu = {
  title: "ReLU",
  growth: 1,
  sharesK: false,
  apply: withoutNegative,
  pullBack: (x, upstream) => mapped(upstream, (value, i) => (x.data[i] > 0 ? value : 0)),
};

/** @type {Activation} */
const groupsort2 = { title: "GroupSort2", growth: 1, sharesK: true, apply: sortedPairs, pullBack: pairsPulledBack };

/** @type {Activation} */
const maxmin = { title: "MaxMin", growth: 2, sharesK: true, apply: bothParts, pullBack: partsPulledBack };

/** All activations by the names that `lipviz.toys.ACTIVATIONS` has. */
export const ACTIVATIONS = Object.freeze({ groupsort2, maxmin, relu });

/**
 * max(x, 0); NaN stays NaN.
 *
 * @param {Matrix} x
 */
function withoutNegative(x) {
  const out = zeros(x.rows, x.cols);
  for (let i = 0; i < out.data.length; i++) out.data[i] = x.data[i] < 0 ? 0 : x.data[i];
  return out;
}

/**
 * Sorts neighbouring channels ascending; their number is even.
 *
 * @param {Matrix} x
 */
function sortedPairs(x) {
  const out = zeros(x.rows, x.cols);
  for (let i = 0; i < out.data.length; i += 2) {
    const swap = x.data[i] > x.data[i + 1] ? 1 : 0;
    out.data[i + swap] = x.data[i];
    out.data[i + 1 - swap] = x.data[i + 1];
  }
  return out;
}

/**
 * @param {Matrix} x
 * @param {Matrix} upstream
 */
function pairsPulledBack(x, upstream) {
  const out = zeros(x.rows, x.cols);
  for (let i = 0; i < out.data.length; i += 2) {
    const swap = x.data[i] > x.data[i + 1] ? 1 : 0;
    out.data[i] = upstream.data[i + swap];
    out.data[i + 1] = upstream.data[i + 1 - swap];
  }
  return out;
}

/**
 * relu(x) and relu(−x), side by side.
 *
 * @param {Matrix} x
 */
function bothParts(x) {
  const out = zeros(x.rows, 2 * x.cols);
  for (let i = 0; i < x.data.length; i++) {
    const place = i + Math.floor(i / x.cols) * x.cols;
    out.data[place] = x.data[i] < 0 ? 0 : x.data[i];
    out.data[place + x.cols] = x.data[i] > 0 ? 0 : -x.data[i];
  }
  return out;
}

/**
 * @param {Matrix} x
 * @param {Matrix} upstream
 */
function partsPulledBack(x, upstream) {
  return mapped(x, (value, i) => {
    const place = i + Math.floor(i / x.cols) * x.cols;
    if (value > 0) return upstream.data[place];
    return value < 0 ? -upstream.data[place + x.cols] : 0;
  });
}
