/**
 * Points that a user edits: the chosen one, the steps back, and the points to return to.
 *
 * @typedef {import("./points.js").Point} Point
 */

import { coordinate, MOST_POINTS, point } from "./points.js";

const MOST_UNDONE = 200;

export class EditedPoints {
  /** @type {Point[]} */
  points = [];
  /** @type {Point[]} The points to go back to. */
  given = [];
  /** @type {Point[][]} Earlier points, the last ones last. */
  undone = [];
  /** @type {number | null} Number of the chosen point. */
  chosen = null;
  /** @type {Point | null} The chosen point as it was when it was chosen. */
  from = null;
  /** Whether the changes that come are one, for `undo`. */
  areOne = false;
  isKept = false;
  /** Most points that can be there at once. */
  most = MOST_POINTS;

  /** Keeps the points as they are, so that `undo` brings them back. Call it before a change. */
  keep() {
    if (this.isKept) return;
    this.isKept = this.areOne;
    this.undone.push(this.points);
    if (this.undone.length > MOST_UNDONE) this.undone.shift();
  }

  /**
   * Makes one change of all that come until it is called with false.
   *
   * @param {boolean} areOne
   */
  join(areOne) {
    this.areOne = areOne;
    this.isKept = false;
  }

  /** Takes back the last change of points. */
  undo() {
    const points = this.undone.pop();
    if (points === undefined) return false;
    this.replace(points);
    this.choose(null);
    return true;
  }

  /** Brings back the points that there were at the start. */
  resetPoints() {
    this.keep();
    this.replace(this.given);
    this.choose(null);
  }

  /** Erases all points. */
  clearPoints() {
    this.keep();
    this.replace([]);
    this.choose(null);
  }

  /**
   * Takes other points.
   *
   * @param {Point[]} points
   */
  replace(points) {
    this.points = points;
  }

  /**
   * Adds a point, and chooses it.
   *
   * @param {number} x
   * @param {number} y
   * @param {number} label
   * @returns {boolean} False where there are as many as can be.
   */
  addPoint(x, y, label) {
    if (this.points.length >= this.most) return false;
    this.keep();
    this.replace([...this.points, point(x, y, label)]);
    this.choose(this.points.length - 1);
    return true;
  }

  /**
   * Moves a point; call `keep` before the first of several moves.
   *
   * @param {number} i
   * @param {number} x
   * @param {number} y
   */
  movePoint(i, x, y) {
    this.replace(this.points.map((one, j) => (j === i ? { ...one, x: coordinate(x), y: coordinate(y) } : one)));
  }

  /** @param {number} i */
  erasePoint(i) {
    this.keep();
    this.replace(this.points.filter((_, j) => j !== i));
    this.choose(null);
  }

  /**
   * Chooses a point; null chooses none. A challenge measures moves from where the point was then.
   *
   * @param {number | null} i
   */
  choose(i) {
    this.chosen = i;
    this.from = i === null ? null : this.points[i];
  }

  /**
   * Where the chosen point was when it was chosen, and where it is; null where it has not moved.
   *
   * @returns {{from: Point, to: Point} | null}
   */
  moved() {
    if (this.chosen === null || this.from === null) return null;
    const [from, to] = [this.from, this.points[this.chosen]];
    return from.x === to.x && from.y === to.y ? null : { from, to };
  }

  /**
   * The point nearest to a place.
   *
   * @param {number} x
   * @param {number} y
   * @param {number} within Largest distance.
   * @returns {number | null} Its number.
   */
  pointAt(x, y, within) {
    let best = null;
    let least = within;
    this.points.forEach((one, i) => {
      const distance = Math.hypot(one.x - x, one.y - y);
      if (distance <= least) [best, least] = [i, distance];
    });
    return best;
  }
}
