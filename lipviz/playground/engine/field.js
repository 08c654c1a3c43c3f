/**
 * A grid of scores over a square of the plane.
 *
 * @typedef {import("./contour.js").Field} Field
 */

import { along } from "./contour.js";
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
  return { side, extent, scores: run(network, gridOf(side, extent)).scores };
}

const KEPT = 4;

/**
 * The places of a grid; those of the last ones are kept.
 *
 * @param {number} side
 * @param {number} extent
 */
export function gridOf(side, extent) {
  const key = `${side} ${extent}`;
  const known = grids.get(key);
  if (known) return known;
  const places = zeros(side * side, 2);
  for (let i = 0; i < side * side; i++) {
    places.data[2 * i] = along(i % side, side, extent);
    places.data[2 * i + 1] = -along(Math.floor(i / side), side, extent);
  }
  if (grids.size >= KEPT) grids.clear();
  grids.set(key, places);
  return places;
}
