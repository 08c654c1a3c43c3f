/**
 * Björck's orthonormalization, with the same numbers and gradients as `lipviz.normalizers.sound_orthogonalization`.
 *
 * 1. Divide by the largest magnitude, and by the largest singular value, so that all singular values are in [0, 1].
 * 2. Repeat W ← W(3I − WᵀW)/2, which maps [0, 1] into itself and moves singular values towards 1.
 * 3. Shrink by a few roundings.
 *
 * The gradient is that of the iteration, where the divisor and the number of steps are constant.
 */

import { add, largestMagnitude, multiply, norm, scaled, symmetricSum, transpose, transposedTimes } from "./matrix.js";
import { largestEigenvalue } from "./spectrum.js";

/** @typedef {import("./matrix.js").Matrix} Matrix */

/** Tolerance of the iteration: it stops after the first increment whose Frobenius norm is below. */
export const EPS_BJORCK = 1e-3;
/** Largest number of steps. */
export const MAXITER_BJORCK = 15;

const TINY = 2.2250738585072014e-308; // the smallest normal number

/**
 * @typedef {object} Orthonormalized
 * @property {Matrix} matrix The result, of the kernel's shape, with singular values in [0, 1].
 * @property {Matrix[]} states The matrices before each step, tall.
 * @property {number} factor What the kernel was multiplied by before the first step.
 * @property {number} margin What the result was multiplied by after the last step.
 * @property {boolean} wide Whether the kernel was transposed.
 */

/**
 * Orthonormalizes a kernel.
 *
 * @param {Matrix} kernel
 * @returns {Orthonormalized}
 */
export function orthonormalize(kernel) {
  const wide = kernel.rows < kernel.cols;
  const tall = wide ? transpose(kernel) : kernel;
  const factor = 1 / unitDivisor(tall);
  const { states, end } = iterated(scaled(tall, factor));
  const margin = 1 - roundingMargin(kernel);
  const shrunk = scaled(end, margin);
  return { matrix: wide ? transpose(shrunk) : shrunk, states, factor, margin, wide };
}

/**
 * Relative margin that covers the rounding of products with a matrix of this shape.
 *
 * @param {Matrix} matrix
 * @returns {number}
 */
export function roundingMargin(matrix) {
  return (8 + Math.sqrt(Math.max(matrix.rows, matrix.cols))) * Number.EPSILON;
}

/**
 * The largest singular value of a tall matrix; of 0, a number that leaves it 0.
 *
 * @param {Matrix} tall
 */
function unitDivisor(tall) {
  const most = largestMagnitude(tall.data);
  const scale = most <= TINY ? 1 : most;
  const unit = scaled(tall, 1 / scale);
  return scale * Math.sqrt(Math.max(largestEigenvalue(transposedTimes(unit, unit)), 0.25));
}

/**
 * @param {Matrix} start
 */
function iterated(start) {
  const states = [];
  let w = start;
  for (let step = 0; step < MAXITER_BJORCK; step++) {
    states.push(w);
    const next = stepped(w);
    const moved = norm(next.data.map((value, i) => value - w.data[i]));
    w = next;
    if (moved < EPS_BJORCK) break;
  }
  return { states, end: w };
}

/**
 * 1.5 W − 0.5 W WᵀW.
 *
 * @param {Matrix} w
 */
function stepped(w) {
  return add(scaled(w, 1.5), multiply(w, transposedTimes(w, w)), -0.5);
}

/**
 * The gradient of <upstream, result> with respect to the kernel.
 *
 * @param {Orthonormalized} result
 * @param {Matrix} upstream Of the kernel's shape.
 * @returns {Matrix} Of the kernel's shape.
 */
export function pullBack(result, upstream) {
  let gradient = result.wide ? transpose(upstream) : upstream;
  for (let i = result.states.length - 1; i >= 0; i--) gradient = pulledThroughStep(result.states[i], gradient);
  gradient = scaled(gradient, result.margin * result.factor);
  return result.wide ? transpose(gradient) : gradient;
}

/**
 * 1.5 G − 0.5 (G WᵀW + W (WᵀG + GᵀW)).
 *
 * @param {Matrix} w
 * @param {Matrix} g
 */
function pulledThroughStep(w, g) {
  const straight = multiply(g, transposedTimes(w, w));
  const inner = multiply(w, symmetricSum(transposedTimes(w, g)));
  return add(add(scaled(g, 1.5), straight, -0.5), inner, -0.5);
}
