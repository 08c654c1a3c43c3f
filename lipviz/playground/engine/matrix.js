/**
 * Small dense matrices in float64.
 *
 * @typedef {object} Matrix
 * @property {number} rows Number of rows.
 * @property {number} cols Number of columns.
 * @property {Float64Array} data Entries, one row after the other.
 */

/**
 * A matrix of zeros.
 *
 * @param {number} rows
 * @param {number} cols
 * @returns {Matrix}
 */
export function zeros(rows, cols) {
  return { rows, cols, data: new Float64Array(rows * cols) };
}

/**
 * A matrix from its rows.
 *
 * @param {ArrayLike<number>[]} rows At least one, all of the same length.
 * @returns {Matrix}
 */
export function fromRows(rows) {
  const matrix = zeros(rows.length, rows[0].length);
  rows.forEach((row, i) => matrix.data.set(row, i * matrix.cols));
  return matrix;
}

/**
 * A matrix with other entries, computed from those of one matrix.
 *
 * @param {Matrix} a
 * @param {(value: number, index: number) => number} change
 * @returns {Matrix}
 */
export function mapped(a, change) {
  return { rows: a.rows, cols: a.cols, data: a.data.map(change) };
}

/**
 * s·A.
 *
 * @param {Matrix} a
 * @param {number} factor
 * @returns {Matrix}
 */
export function scaled(a, factor) {
  if (factor === 1) return a;
  const data = new Float64Array(a.data.length);
  for (let i = 0; i < data.length; i++) data[i] = factor * a.data[i];
  return { rows: a.rows, cols: a.cols, data };
}

/**
 * Aᵀ.
 *
 * @param {Matrix} a
 * @returns {Matrix}
 */
export function transpose(a) {
  const out = zeros(a.cols, a.rows);
  for (let i = 0; i < a.rows; i++) {
    for (let j = 0; j < a.cols; j++) out.data[j * a.rows + i] = a.data[i * a.cols + j];
  }
  return out;
}

/**
 * A·B.
 *
 * @param {Matrix} a Of shape (n, m).
 * @param {Matrix} b Of shape (m, p).
 * @returns {Matrix} Of shape (n, p).
 */
export function multiply(a, b) {
  const out = zeros(a.rows, b.cols);
  const together = a.cols - (a.cols % 4);
  for (let i = 0; i < a.rows; i++) {
    const at = i * a.cols;
    for (let k = 0; k < together; k += 4) addFourRows(out.data, i, b, k, a.data, at + k);
    for (let k = together; k < a.cols; k++) addRow(out.data, i, b.data, k, a.data[at + k], b.cols);
  }
  return out;
}

/**
 * Adds rows k to k + 3 of `from`, each times its factor, to row i of `to`: faster than one after the other.
 *
 * @param {Float64Array} to
 * @param {number} i
 * @param {Matrix} from
 * @param {number} k
 * @param {Float64Array} factors
 * @param {number} at Where the first of the four factors is.
 */
function addFourRows(to, i, from, k, factors, at) {
  const { data, cols } = from;
  const first = factors[at];
  const second = factors[at + 1];
  const third = factors[at + 2];
  const fourth = factors[at + 3];
  let out = i * cols;
  const end = (k + 1) * cols;
  for (let j = k * cols; j < end; j++, out++) {
    to[out] += first * data[j] + second * data[j + cols] + third * data[j + 2 * cols] + fourth * data[j + 3 * cols];
  }
}

/**
 * Aᵀ·B.
 *
 * @param {Matrix} a Of shape (n, m).
 * @param {Matrix} b Of shape (n, p).
 * @returns {Matrix} Of shape (m, p).
 */
export function transposedTimes(a, b) {
  const out = zeros(a.cols, b.cols);
  for (let k = 0; k < a.rows; k++) {
    for (let i = 0; i < a.cols; i++) addRow(out.data, i, b.data, k, a.data[k * a.cols + i], b.cols);
  }
  return out;
}

/**
 * Adds a factor times row k of `from` to row i of `to`. No factor is skipped, so that NaN and infinity pass through.
 *
 * @param {Float64Array} to
 * @param {number} i
 * @param {Float64Array} from
 * @param {number} k
 * @param {number} factor
 * @param {number} width Length of a row.
 */
function addRow(to, i, from, k, factor, width) {
  const start = i * width;
  const shift = k * width - start;
  for (let at = start; at < start + width; at++) to[at] += factor * from[at + shift];
}

/**
 * Adds `factor`·B to A in place.
 *
 * @param {Matrix} a
 * @param {Matrix} b
 * @param {number} factor
 * @returns {Matrix} A itself.
 */
export function add(a, b, factor) {
  for (let i = 0; i < a.data.length; i++) a.data[i] += factor * b.data[i];
  return a;
}

/**
 * A + Aᵀ of a square matrix.
 *
 * @param {Matrix} a
 * @returns {Matrix}
 */
export function symmetricSum(a) {
  return add(transpose(a), a, 1);
}

/**
 * Euclidean norm of a list of numbers; of a matrix's `data` the Frobenius norm.
 *
 * @param {ArrayLike<number>} values
 * @returns {number}
 */
export function norm(values) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return Math.sqrt(sum);
}

/**
 * Largest magnitude of the entries.
 *
 * @param {Float64Array} values
 * @returns {number}
 */
export function largestMagnitude(values) {
  let most = 0;
  for (const value of values) {
    if (!(Math.abs(value) <= most)) most = Math.abs(value);
  }
  return most;
}
