/**
 * Certified radii in l2: how far a point must move before the sign of its score can change.
 *
 * If the score is L-Lipschitz, no move shorter than |f(x)| / L changes its sign. L is the product of the largest
 * singular values of the kernels that are used and of the factors of the activations, as in `lipviz.certified_radius`.
 *
 * Rounding is on the safe side. L is rounded up, and the score down, by ROUNDING times the sizes of all hidden values.
 * That is thousands of times what float64 can lose in a network of this size (Higham 2002, chapter 3), and more than
 * what `lipviz.certified_radius` allows for. So a radius here is never above that of lipviz.
 *
 * @typedef {import("./matrix.js").Matrix} Matrix
 * @typedef {import("./network.js").Used} Used
 *
 * @typedef {object} Certificate
 * @property {number} constant L: no two points differ in score by more than L times their distance.
 * @property {number[]} norms Largest singular value of each kernel that is used.
 * @property {number} atZero Bound of the sizes of all hidden values for the input 0, each times the constants behind.
 * @property {number} slope How much that grows for each unit of the input's norm.
 */

import { norm } from "./matrix.js";
import { activationFactor } from "./network.js";
import { largestSingularValue } from "./spectrum.js";

/** Relative allowance for rounding. */
export const ROUNDING = 1e-10;

/**
 * The certificate of a network.
 *
 * @param {Used} network
 * @returns {Certificate}
 */
export function certify(network) {
  const norms = network.kernels.map(largestSingularValue);
  const factor = activationFactor(network.settings);
  let constant = 1;
  let size = { atZero: 0, slope: 1 };
  let total = { atZero: 0, slope: 0 };
  network.kernels.forEach((kernel, i) => {
    const behind = (i ? factor : 1) * norms[i];
    constant *= behind;
    size = sizeBehind(size, i ? factor : 1, norm(kernel.data), norm(network.biases[i]));
    total = { atZero: total.atZero * behind + size.atZero, slope: total.slope * behind + size.slope };
  });
  return { constant: constant * (1 + ROUNDING), norms, ...total };
}

/**
 * Bounds of what a layer adds up: magnitudes of products, whose matrix has at most the Frobenius norm, and biases.
 *
 * @param {{atZero: number, slope: number}} size
 * @param {number} factor
 * @param {number} frobenius
 * @param {number} bias
 */
function sizeBehind(size, factor, frobenius, bias) {
  return { atZero: size.atZero * factor * frobenius + bias, slope: size.slope * factor * frobenius };
}

/**
 * Certified radii of points, from their scores.
 *
 * @param {Certificate} certificate
 * @param {ArrayLike<number>} scores
 * @param {Matrix} x The points, of shape (n, inputs).
 * @returns {Float64Array} At least 0; 0 where nothing is certified. Infinite where the score is constant.
 */
export function radii(certificate, scores, x) {
  return Float64Array.from(scores, (score, i) => {
    const size = norm(x.data.subarray(i * x.cols, (i + 1) * x.cols));
    const sizes = Math.abs(score) + certificate.atZero + certificate.slope * size;
    const gap = Math.abs(score) - ROUNDING * sizes;
    return gap > 0 ? gap / (certificate.constant + ROUNDING * certificate.slope) : 0;
  });
}
