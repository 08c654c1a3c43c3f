/**
 * The attacker: the shortest move that it finds to a point where the score has another sign.
 *
 * It starts from the nearest place of the boundary that a grid of scores shows, or else from the point itself, and
 * follows gradients to the boundary. What it returns is proved: the score at the end has another sign. A shorter move
 * may exist, but none shorter than the certified radius.
 *
 * @typedef {import("./network.js").Used} Used
 *
 * @typedef {object} Place
 * @property {number} x
 * @property {number} y
 *
 * @typedef {object} Move
 * @property {number} x Where the move ends.
 * @property {number} y
 * @property {number} length Length of the move.
 */

import { fromRows } from "./matrix.js";
import { gradients, run } from "./network.js";

const NEWTON_STEPS = 4;
// How far to go on the line to a place on the boundary: a little further than that place, because of rounding.
const SHARES = [1 + 1e-6, 1.001, 1.02, 1.1];

/**
 * Scores of places, one after the other.
 *
 * @param {Used} network
 * @param {Place[]} places At least one.
 * @returns {Float64Array}
 */
export function scoresAt(network, places) {
  return run(network, fromRows(places.map(({ x, y }) => [x, y]))).scores;
}

/**
 * Best moves of an attacker for some points.
 *
 * @param {Used} network
 * @param {Place[]} points At least one.
 * @param {Place[]} boundary Places near the boundary, such as those that `contour` finds; may be empty.
 * @returns {(Move | null)[]} One for each point; null where none was found.
 */
export function bestMoves(network, points, boundary) {
  const near = points.map((point) => nearest(point, boundary) ?? point);
  return shortened(network, points, towardsBoundary(network, near), scoresAt(network, points));
}

/**
 * The nearest of some places.
 *
 * @param {Place} point
 * @param {Place[]} places
 * @returns {Place | null} Null where there are none.
 */
function nearest(point, places) {
  let best = null;
  let least = Infinity;
  for (const place of places) {
    const distance = (place.x - point.x) ** 2 + (place.y - point.y) ** 2;
    if (distance < least) [best, least] = [place, distance];
  }
  return best;
}

/**
 * Follows gradients from places to where the linearized score is 0.
 *
 * @param {Used} network
 * @param {Place[]} from
 * @returns {Place[]}
 */
function towardsBoundary(network, from) {
  const x = fromRows(from.map((place) => [place.x, place.y]));
  const ones = new Float64Array(from.length).fill(1);
  for (let step = 0; step < NEWTON_STEPS; step++) {
    const forward = run(network, x);
    const slopes = gradients(network, forward, ones, false).inputs.data;
    forward.scores.forEach((score, i) => moveAlong(x.data, 2 * i, slopes, score));
  }
  return from.map((_, i) => ({ x: x.data[2 * i], y: x.data[2 * i + 1] }));
}

/**
 * Moves a place by −f·∇f/‖∇f‖², at most by 1, in place.
 *
 * @param {Float64Array} x
 * @param {number} at
 * @param {Float64Array} slopes
 * @param {number} score
 */
function moveAlong(x, at, slopes, score) {
  const square = slopes[at] ** 2 + slopes[at + 1] ** 2;
  if (!(square > 1e-24)) return;
  const size = Math.min(Math.abs(score) / Math.sqrt(square), 1) * Math.sign(score);
  x[at] -= (size * slopes[at]) / Math.sqrt(square);
  x[at + 1] -= (size * slopes[at + 1]) / Math.sqrt(square);
}

/**
 * Moves that end just behind the boundary, on the lines from points through places on it; null where none does.
 *
 * @param {Used} network
 * @param {Place[]} points
 * @param {Place[]} ends
 * @param {Float64Array} scores Scores of the points.
 * @returns {(Move | null)[]}
 */
function shortened(network, points, ends, scores) {
  /** @type {(Move | null)[]} */
  const moves = points.map(() => null);
  for (const share of SHARES) {
    const changed = signsChange(network, points, ends, share, scores);
    points.forEach((point, i) => {
      if (changed[i]) moves[i] ??= moveTo(point, between(point, ends[i], share));
    });
    if (moves.every((move) => move !== null)) break;
  }
  return moves;
}

/**
 * Whether the sign of the score differs from that of each point, a share of the way to its end.
 *
 * @param {Used} network
 * @param {Place[]} points
 * @param {Place[]} ends
 * @param {number} share
 * @param {Float64Array} scores
 * @returns {boolean[]}
 */
function signsChange(network, points, ends, share, scores) {
  const places = points.map((point, i) => between(point, ends[i], share));
  return Array.from(scoresAt(network, places), (score, i) => score > 0 !== scores[i] > 0);
}

/**
 * @param {Place} from
 * @param {Place} to
 * @param {number} share
 * @returns {Place}
 */
function between(from, to, share) {
  return { x: from.x + share * (to.x - from.x), y: from.y + share * (to.y - from.y) };
}

/**
 * @param {Place} from
 * @param {Place} to
 * @returns {Move}
 */
function moveTo(from, to) {
  return { ...to, length: Math.hypot(to.x - from.x, to.y - from.y) };
}
