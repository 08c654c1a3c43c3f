/** Eigenvalues of symmetric matrices by Jacobi's method, and norms of matrices. */

import { largestMagnitude, norm, scaled, transpose, transposedTimes } from "./matrix.js";

/** @typedef {import("./matrix.js").Matrix} Matrix */

const MOST_SWEEPS = 30;
// Relative size of what is left off the diagonal. Further rotations would only add roundings.
const LEFT = 4e-16;

/**
 * Eigenvalues of a symmetric matrix, in no order.
 *
 * Cyclic Jacobi: each rotation makes a pair of entries off the diagonal 0. The errors are a few roundings of the norm.
 *
 * @param {Matrix} matrix Symmetric and finite.
 * @returns {Float64Array}
 */
export function eigenvalues(matrix) {
  const n = matrix.rows;
  const a = Float64Array.from(matrix.data);
  for (let sweep = 0; sweep < MOST_SWEEPS && offDiagonal(a, n) > LEFT * norm(a); sweep++) {
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) rotate(a, n, p, q);
    }
  }
  return Float64Array.from({ length: n }, (_, i) => a[i * n + i]);
}

/**
 * Norm of all entries off the diagonal.
 *
 * @param {Float64Array} a
 * @param {number} n
 */
function offDiagonal(a, n) {
  let sum = 0;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) if (i !== j) sum += a[i * n + j] ** 2;
  }
  return Math.sqrt(sum);
}

/**
 * Rotates the coordinates p and q so that entry (p, q) becomes 0.
 *
 * @param {Float64Array} a
 * @param {number} n
 * @param {number} p
 * @param {number} q
 */
function rotate(a, n, p, q) {
  const off = a[p * n + q];
  if (off === 0) return;
  const theta = (a[q * n + q] - a[p * n + p]) / (2 * off);
  const t = Math.sign(theta || 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (let i = 0; i < n; i++) turn(a, i * n + p, i * n + q, c, s);
  for (let i = 0; i < n; i++) turn(a, p * n + i, q * n + i, c, s);
}

/**
 * @param {Float64Array} a
 * @param {number} first
 * @param {number} second
 * @param {number} c
 * @param {number} s
 */
function turn(a, first, second, c, s) {
  const x = a[first];
  const y = a[second];
  a[first] = c * x - s * y;
  a[second] = s * x + c * y;
}

/**
 * The smaller of the two Gram matrices of a matrix.
 *
 * @param {Matrix} matrix
 * @returns {Matrix}
 */
export function smallGram(matrix) {
  const tall = matrix.rows < matrix.cols ? transpose(matrix) : matrix;
  return transposedTimes(tall, tall);
}

/**
 * Largest singular value of a matrix, to a few roundings; NaN or infinite where the matrix is.
 *
 * @param {Matrix} matrix
 * @returns {number}
 */
export function largestSingularValue(matrix) {
  const most = largestMagnitude(matrix.data);
  if (most === 0 || !Number.isFinite(most)) return most;
  return most * Math.sqrt(largestEigenvalue(smallGram(scaled(matrix, 1 / most))));
}

/**
 * Largest eigenvalue of a Gram matrix; NaN where the matrix is not finite.
 *
 * @param {Matrix} gram
 * @returns {number}
 */
export function largestEigenvalue(gram) {
  if (!gram.data.every(Number.isFinite)) return NaN;
  return eigenvalues(gram).reduce((most, value) => Math.max(most, value), 0);
}
