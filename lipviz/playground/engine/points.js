/**
 * Points of the plane with a class, 0 or 1, and the toy sets. Coordinates are multiples of 0.001, so that addresses and
 * copied code have the very points that are seen.
 *
 * @typedef {object} Point
 * @property {number} x
 * @property {number} y
 * @property {0 | 1} label
 */

import { fromRows } from "./matrix.js";
import { Random } from "./random.js";

/** The part of the plane that is shown is [−EXTENT, EXTENT]². */
export const EXTENT = 2;
/** Most points that can be there at once. */
export const MOST_POINTS = 200;
/** Number of points of a toy set. */
export const TOY_POINTS = 80;

/**
 * A coordinate that is inside of the picture and a multiple of 0.001.
 *
 * @param {number} value
 * @returns {number}
 */
export function coordinate(value) {
  return Math.round(1000 * Math.min(Math.max(value, -EXTENT), EXTENT)) / 1000 + 0;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {number} label
 * @returns {Point}
 */
export function point(x, y, label) {
  return { x: coordinate(x), y: coordinate(y), label: label ? 1 : 0 };
}

/** The toy sets: functions of (share of the way along a class, class) that return a place without noise. */
const PLACES = {
  moons: (/** @type {number} */ t, /** @type {number} */ label) => {
    const angle = Math.PI * t;
    return label ? [0.5 - Math.cos(angle), 0.25 - Math.sin(angle)] : [Math.cos(angle) - 0.5, Math.sin(angle) - 0.25];
  },
  circles: (/** @type {number} */ t, /** @type {number} */ label) => {
    const radius = label ? 0.6 : 1.4;
    return [radius * Math.cos(2 * Math.PI * t), radius * Math.sin(2 * Math.PI * t)];
  },
  gaussians: (/** @type {number} */ _, /** @type {number} */ label) => (label ? [0.75, 0.5] : [-0.75, -0.5]),
  spirals: (/** @type {number} */ t, /** @type {number} */ label) => {
    const angle = 1 + 6 * t + Math.PI * label;
    const radius = 0.25 + 1.4 * t;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
};

/** How much the Gaussians scatter more than the other sets do. */
const SCATTER = { moons: 1, circles: 1, gaussians: 3, spirals: 0.5 };

/** @typedef {keyof typeof PLACES} Toy */

/** Names of the toy sets. */
export const TOYS = Object.freeze(/** @type {Toy[]} */ (Object.keys(PLACES)));

/**
 * The points of a toy set.
 *
 * @param {Toy} name
 * @param {number} noise Standard deviation of each coordinate, three times that for the Gaussians.
 * @param {number} seed
 * @param {number} [count] Number of points, of both classes together.
 * @returns {Point[]}
 */
export function toyPoints(name, noise, seed, count = TOY_POINTS) {
  const random = new Random(seed);
  const half = count / 2;
  const scatter = SCATTER[name] * noise;
  return Array.from({ length: count }, (_, i) => {
    const label = i < half ? 0 : 1;
    const [x, y] = PLACES[name]((i % half) / (half - (name === "circles" ? 0 : 1)), label);
    return point(x + scatter * random.normal(), y + scatter * random.normal(), label);
  });
}

/**
 * The matrix of some points, of shape (n, 2).
 *
 * @param {{x: number, y: number}[]} points At least one.
 * @returns {import("./matrix.js").Matrix}
 */
export function matrixOf(points) {
  return fromRows(points.map(({ x, y }) => [x, y]));
}
