/**
 * A grid of scores over a square of the plane, and the boundary in it.
 *
 * @typedef {object} Field
 * @property {number} side Number of rows and of columns.
 * @property {number} extent The square is [−extent, extent]².
 * @property {Float64Array} scores Row after row from the top (largest y), each from the left.
 */

import { zeros } from "./matrix.js";
import { run } from "./network.js";

/** @type {Map<string, import("./matrix.js").Matrix>} */
const grids = new Map();

/**
 * Scores on a grid.
 *
 * @param {import("./network.js").Used} network
 * @param {number} side
 * @param {number} extent
 * @returns {Field}
 */
export function field(network, side, extent) {
  return { side, extent, scores: run(network, grid(side, extent)).scores };
}

/**
 * The places of a grid; those of the last use are kept.
 *
 * @param {number} side
 * @param {number} extent
 */
function grid(side, extent) {
  const key = `${side} ${extent}`;
  const known = grids.get(key);
  if (known) return known;
  const places = zeros(side * side, 2);
  for (let i = 0; i < side * side; i++) {
    places.data[2 * i] = along(i % side, side, extent);
    places.data[2 * i + 1] = -along(Math.floor(i / side), side, extent);
  }
  grids.clear();
  grids.set(key, places);
  return places;
}

/**
 * @param {number} i
 * @param {number} side
 * @param {number} extent
 */
function along(i, side, extent) {
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
