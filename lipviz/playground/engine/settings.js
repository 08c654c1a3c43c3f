/**
 * The settings of the playground, and their form in an address.
 *
 * An address is read strictly: a value counts only if it is one of those that a control offers. Everything else gets a
 * sentence, made of words that are written here and never of what was read.
 *
 * @typedef {object} Settings
 * @property {import("./points.js").Toy | "own"} data
 * @property {number} noise
 * @property {number} seed Seed of the points and of the weights.
 * @property {"groupsort2" | "maxmin" | "relu"} activation
 * @property {number} width
 * @property {number} depth
 * @property {number} k
 * @property {"crossentropy" | "hkr"} loss
 * @property {number} tau
 * @property {number} margin
 * @property {number} rate
 * @property {number} decay Weight decay of Adam.
 * @property {string} challenge Name of the challenge that is open, or "none".
 *
 * @typedef {object} Setting
 * @property {string} label
 * @property {string} help
 * @property {(number | string)[]} values All values that it can have.
 * @property {number | string} start
 * @property {Record<string, string>} [titles] Words for values that are names.
 *
 * @typedef {import("./points.js").Point} Point
 */

import { EXTENT, MOST_POINTS, point, TOYS } from "./points.js";

/**
 * Whole numbers from first to last.
 *
 * @param {number} first
 * @param {number} last
 */
function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** @type {Record<keyof Settings, Setting>} */
export const SETTINGS = {
  data: {
    label: "data",
    help: "The points to learn from. Your own appear here as soon as you change one.",
    values: [...TOYS, "own"],
    start: "moons",
    titles: { moons: "two moons", circles: "circles", gaussians: "two Gaussians", spirals: "spirals", own: "your own" },
  },
  noise: {
    label: "noise",
    help: "How far the points scatter",
    values: [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4],
    start: 0.1,
  },
  seed: {
    label: "seed",
    help: "Another seed gives other points and other first weights",
    values: range(0, 20),
    start: 0,
  },
  activation: {
    label: "activation",
    help: "Behind each hidden layer of both networks",
    values: ["groupsort2", "maxmin", "relu"],
    start: "groupsort2",
    titles: { groupsort2: "GroupSort2", maxmin: "MaxMin", relu: "ReLU" },
  },
  depth: { label: "hidden layers", help: "Hidden layers of both networks", values: range(1, 5), start: 2 },
  width: { label: "width", help: "Channels of each hidden layer", values: [2, 4, 8, 12, 16, 24, 32], start: 16 },
  k: {
    label: "Lipschitz k",
    help: "Largest Lipschitz constant of the constrained network: its score changes by at most k times the move",
    values: [0.1, 0.2, 0.5, 1, 2, 5, 10],
    start: 1,
  },
  loss: {
    label: "loss",
    help: "Crossentropy looks at points near the boundary; HKR wants the classes far apart",
    values: ["crossentropy", "hkr"],
    start: "crossentropy",
    titles: { crossentropy: "crossentropy", hkr: "HKR" },
  },
  tau: {
    label: "τ",
    help: "Inverse temperature: the larger, the more the loss depends on points near the boundary",
    values: [1, 2, 5, 10, 20, 50, 100],
    start: 10,
  },
  margin: {
    label: "margin",
    help: "Distance of the two classes' scores that HKR wants",
    values: [0.1, 0.2, 0.5, 1, 2],
    start: 0.5,
  },
  rate: { label: "learning rate", help: "Of Adam", values: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1], start: 0.02 },
  decay: {
    label: "weight decay",
    help: "At each step, all weights shrink by this share of the learning rate",
    values: [0, 0.01, 0.03, 0.1, 0.3, 1],
    start: 0,
  },
  challenge: { label: "challenge", help: "", values: ["none", "disc", "fool", "relu"], start: "none" },
};

const NAMES = /** @type {(keyof Settings)[]} */ (Object.keys(SETTINGS));

/**
 * The settings at the start.
 *
 * @returns {Settings}
 */
export function startSettings() {
  return /** @type {Settings} */ (Object.fromEntries(NAMES.map((name) => [name, SETTINGS[name].start])));
}

/**
 * @typedef {object} Address
 * @property {Settings} settings
 * @property {Point[] | null} points Own points, or null.
 * @property {string[]} problems A sentence for each part that could not be used.
 */

/**
 * Reads the part of an address behind #.
 *
 * @param {string} text With or without #.
 * @returns {Address}
 */
export function readAddress(text) {
  const settings = startSettings();
  /** @type {string[]} */
  const problems = [];
  const given = new URLSearchParams(text.replace(/^#/, ""));
  const known = [...NAMES, "points"];
  if ([...given.keys()].some((name) => !known.includes(name))) {
    problems.push("The address names a setting that does not exist; it was left out.");
  }
  for (const name of NAMES) readSetting(settings, name, given.get(name), problems);
  return { settings, ...readOwn(settings, given.get("points"), problems) };
}

/**
 * @param {Settings} settings
 * @param {keyof Settings} name
 * @param {string | null} text
 * @param {string[]} problems
 */
function readSetting(settings, name, text, problems) {
  if (text === null) return;
  const { values, start, titles, label } = SETTINGS[name];
  const value = values.find((one) => String(one) === text.trim());
  if (value !== undefined) {
    Object.assign(settings, { [name]: value });
    return;
  }
  const shown = titles?.[start] ?? start;
  problems.push(`The address has no usable value for “${label}”: it is one of ${values.join(", ")}. Used: ${shown}.`);
}

/**
 * @param {Settings} settings
 * @param {string | null} text
 * @param {string[]} problems
 * @returns {{points: Point[] | null, problems: string[]}}
 */
function readOwn(settings, text, problems) {
  if (settings.data !== "own") return { points: null, problems };
  const points = text === null ? null : readPoints(text);
  if (points !== null) return { points, problems };
  settings.data = /** @type {import("./points.js").Toy} */ (SETTINGS.data.start);
  const most = `1 to ${MOST_POINTS} points inside of the picture`;
  problems.push(`The address has no usable points of your own: expected ${most}. Used: two moons.`);
  return { points: null, problems };
}

/**
 * Reads points that `writePoints` wrote.
 *
 * @param {string} text
 * @returns {Point[] | null} Null unless all of it can be used.
 */
export function readPoints(text) {
  const parts = text.split("_");
  if (parts.length > MOST_POINTS) return null;
  const points = parts.map(readPoint);
  return points.every((one) => one !== null) ? /** @type {Point[]} */ (points) : null;
}

/**
 * @param {string} text
 * @returns {Point | null}
 */
function readPoint(text) {
  const match = /^(-?\d{1,4})\.(-?\d{1,4})\.([01])$/.exec(text);
  if (match === null) return null;
  const [x, y] = [Number(match[1]) / 1000, Number(match[2]) / 1000];
  return Math.abs(x) <= EXTENT && Math.abs(y) <= EXTENT ? point(x, y, Number(match[3])) : null;
}

/**
 * Points in an address: thousandths of both coordinates and the class, such as 250.-1000.1.
 *
 * @param {Point[]} points
 * @returns {string}
 */
export function writePoints(points) {
  return points.map(({ x, y, label }) => `${Math.round(1000 * x)}.${Math.round(1000 * y)}.${label}`).join("_");
}

/**
 * The part of an address behind #, without what is as at the start.
 *
 * @param {Settings} settings
 * @param {Point[]} points
 * @returns {string}
 */
export function writeAddress(settings, points) {
  const changed = NAMES.filter((name) => settings[name] !== SETTINGS[name].start);
  const parts = changed.map((name) => [name, String(settings[name])]);
  if (settings.data === "own" && points.length) parts.push(["points", writePoints(points)]);
  return new URLSearchParams(parts).toString();
}
