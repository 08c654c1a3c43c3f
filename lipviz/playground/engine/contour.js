/**
 * The boundary in a grid of scores.
 *
 * @typedef {object} Field
 * @property {number} side Number of rows and of columns.
 * @property {number} extent The square is [−extent, extent]².
 * @property {Float64Array} scores Row after row from the top (largest y), each from the left.
 */

/**
 * Coordinate of a column; the negative one of a row.
 *
 * @param {number} i
 * @param {number} side
 * @param {number} extent
 */
export function along(i, side, extent) {
  return extent * ((2 * i) / (side - 1) - 1);
}

/**
 * The boundary, where linear interpolation is 0: pairs of ends of short lines (marching squares).
 *
 * @param {Field} scores
 * @returns {{x: number, y: number}[]} Ends, two for each line.
 */
export function contour({ side, extent, scores }) {
  /** @type {{x: number, y: number}[]} */
  const ends = [];
  for (let row = 0; row + 1 < side; row++) {
    for (let col = 0; col + 1 < side; col++) {
      const found = crossings(scores, side, row, col);
      // Four crossings are two lines; which corners they cut off does not matter at this size.
      const even = found.length - (found.length % 2);
      for (const [r, c] of found.slice(0, even)) {
        ends.push({ x: along(c, side, extent), y: -along(r, side, extent) });
      }
    }
  }
  return ends;
}

/**
 * Where the score is 0 on the sides of a cell, in rows and columns.
 *
 * @param {Float64Array} scores
 * @param {number} side
 * @param {number} row
 * @param {number} col
 * @returns {[number, number][]}
 */
function crossings(scores, side, row, col) {
  const at = row * side + col;
  const [a, b, c, d] = [scores[at], scores[at + 1], scores[at + side + 1], scores[at + side]];
  /** @type {[number, number][]} */
  const found = [];
  if (a > 0 !== b > 0) found.push([row, col + a / (a - b)]);
  if (b > 0 !== c > 0) found.push([row + b / (b - c), col + 1]);
  if (c > 0 !== d > 0) found.push([row + 1, col + d / (d - c)]);
  if (d > 0 !== a > 0) found.push([row + a / (a - d), col]);
  return found;
}
