/**
 * What the kernel says, which comes as bytes, as the page's own drawing takes it.
 *
 * @typedef {import("../../../playground/engine/kinds.js").Kind} Kind
 * @typedef {import("../../../playground/engine/playground.js").View} View
 * @typedef {import("../../../playground/engine/playground.js").Reading} Reading
 * @typedef {import("../../../playground/engine/points.js").Point} Point
 *
 * @typedef {object} Sent What the kernel says of a network.
 * @property {DataView} scores Of a grid, float32, row after row from the top.
 * @property {DataView} right A byte for each point: whether it is decided rightly.
 * @property {DataView} radii Certified radii of the points, float64.
 * @property {DataView} moves Ends and lengths of the attacker's moves, float64, three for each point; NaN for none.
 * @property {number | null} loss
 * @property {number[]} losses
 * @property {number | null} unseen
 * @property {number} constant
 *
 * @typedef {object} Answer
 * @property {Record<Kind, View>} views
 * @property {boolean} discs
 * @property {boolean} moves
 * @property {{x: number, y: number} | null} place The place that `readings` are about.
 * @property {Reading[] | null} readings One for each network.
 */

import { contour } from "../../../playground/engine/contour.js";
import { KINDS } from "../../../playground/engine/kinds.js";
import { EXTENT } from "../../../playground/engine/points.js";
import { numbers } from "./bytes.js";

/**
 * Points from float64: x, y and label of each.
 *
 * @param {DataView} places
 * @returns {Point[]}
 */
export function pointsOf(places) {
  const flat = numbers(Float64Array, places);
  return Array.from({ length: flat.length / 3 }, (_, i) => {
    return { x: flat[3 * i], y: flat[3 * i + 1], label: flat[3 * i + 2] > 0 ? 1 : 0 };
  });
}

/**
 * An answer of the kernel.
 *
 * @param {{places: DataView, networks: Record<Kind, Sent>, discs: boolean, moves: boolean, place: number[] | null,
 *   reading: (number | null)[][] | null}} sent
 * @returns {Answer}
 */
export function answerOf({ places, networks, discs, moves, place, reading }) {
  const points = pointsOf(places);
  const [ordinary, constrained] = KINDS.map((kind) => viewOf(networks[kind], points));
  return {
    views: { ordinary, constrained },
    discs,
    moves,
    place: place && { x: place[0], y: place[1] },
    readings: reading && reading.map(readingOf),
  };
}

/**
 * @param {Sent} sent
 * @param {Point[]} places
 * @returns {View}
 */
function viewOf(sent, places) {
  const scores = Float64Array.from(numbers(Float32Array, sent.scores));
  const field = { side: Math.round(Math.sqrt(scores.length)), extent: EXTENT, scores };
  const { constant } = sent;
  return {
    loss: sent.loss ?? NaN,
    losses: sent.losses,
    unseen: sent.unseen ?? NaN,
    scores: new Float64Array(0),
    right: Array.from(numbers(Uint8Array, sent.right), Boolean),
    radii: numbers(Float64Array, sent.radii),
    certificate: { constant, norms: [], atZero: 0, slope: 0 },
    field,
    boundary: contour(field),
    moves: movesOf(numbers(Float64Array, sent.moves)),
    places,
  };
}

/** @param {Float64Array} flat */
function movesOf(flat) {
  return Array.from({ length: flat.length / 3 }, (_, i) => moveOf(flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]));
}

/**
 * @param {number} x
 * @param {number} y
 * @param {number} length
 */
function moveOf(x, y, length) {
  return Number.isFinite(length) ? { x, y, length } : null;
}

/** @param {(number | null)[]} sent Score, radius, and the attacker's move, which may be null; an infinite radius is null. */
function readingOf([score, radius, x, y, length]) {
  return { score: score ?? NaN, radius: radius ?? Infinity, move: moveOf(x ?? NaN, y ?? NaN, length ?? NaN) };
}
