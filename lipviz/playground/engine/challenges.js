/**
 * Guided challenges. The engine checks their goals by what it computes, not by what was pressed.
 *
 * @typedef {import("./points.js").Point} Point
 * @typedef {import("./settings.js").Settings} Settings
 *
 * @typedef {object} Seen What the engine knows of a network now.
 * @property {number} loss
 * @property {ArrayLike<number>} scores One for each point.
 * @property {ArrayLike<number>} radii
 *
 * @typedef {object} Tried A point that was moved since it was chosen.
 * @property {Point} from
 * @property {Point} to
 * @property {{ordinary: number, constrained: number}} before Scores where it was.
 * @property {{ordinary: number, constrained: number}} after Scores where it is.
 *
 * @typedef {object} Moment
 * @property {Settings} settings
 * @property {Point[]} points
 * @property {Seen} ordinary
 * @property {Seen} constrained
 * @property {Tried | null} tried
 *
 * @typedef {object} Verdict
 * @property {boolean} done
 * @property {string} words What is reached and what is missing, or why the goal matters once it is reached.
 *
 * @typedef {object} Challenge
 * @property {string} name A few words, for a menu.
 * @property {string} title
 * @property {string} task
 * @property {Partial<Settings>} presets
 * @property {(moment: Moment) => Verdict} check
 */

import { toyPoints } from "./points.js";
import { startSettings } from "./settings.js";

const CHANGED = "The points are not those of the challenge: press “Reset points”, or choose the challenge anew.";

/** The smallest disc must have at least this radius. */
export const DISC_GOAL = 0.15;
/** A step must be shorter than this: a dot is about as wide. */
export const FOOL_GOAL = 0.1;
/** The loss of the constrained network must be below. */
export const RELU_GOAL = 0.006;

/** @type {Record<"disc" | "fool" | "relu", Challenge>} */
export const CHALLENGES = {
  disc: {
    name: "1. Larger discs",
    title: "Make the smallest disc larger without losing a point",
    task:
      `Press Play. Then change settings until the constrained network decides every point correctly with a smallest ` +
      `certified radius of at least ${DISC_GOAL}. Leave the points as they are.`,
    presets: { data: "circles", noise: 0.1, seed: 0, activation: "groupsort2", tau: 1, k: 1, loss: "crossentropy" },
    check: checkDisc,
  },
  fool: {
    name: "2. An unseen step",
    title: "Fool the ordinary network with a step you cannot see",
    task:
      `Play, and pause. Then drag a point that both networks decide correctly by less than ${FOOL_GOAL}, the width of a ` +
      `dot, so that only the ordinary network gets it wrong. The attacker's lines show where to go.`,
    presets: {
      data: "moons",
      noise: 0.25,
      seed: 0,
      activation: "groupsort2",
      tau: 20,
      k: 1,
      loss: "crossentropy",
      depth: 2,
      width: 32,
    },
    check: checkFool,
  },
  relu: {
    name: "3. ReLU gets stuck",
    title: "Why does ReLU get stuck?",
    task:
      `The constrained network has ReLU. Play until its loss gets no smaller. Then bring the loss below ${RELU_GOAL} by ` +
      `another activation. Leave layers, width, k, the loss, τ and the points as they are.`,
    presets: {
      data: "circles",
      noise: 0.1,
      seed: 0,
      activation: "relu",
      tau: 10,
      k: 1,
      loss: "crossentropy",
      depth: 2,
      width: 16,
    },
    check: checkRelu,
  },
};

/**
 * @param {Moment} moment
 * @returns {Verdict}
 */
function checkDisc({ settings, points, constrained }) {
  if (!areGiven("disc", points)) return not(CHANGED);
  const wrong = points.filter((point, i) => !isRight(point, constrained.scores[i])).length;
  const smallest = Math.min(...Array.from(constrained.radii));
  if (wrong > 0) return not(`${counted(wrong, "point is", "points are")} on the wrong side.`);
  const reached = `All points are correct. The smallest radius is ${smallest.toFixed(3)}.`;
  if (!(smallest >= DISC_GOAL)) return not(reached + hint(settings));
  return done(
    `All points are correct, and the smallest radius is ${smallest.toFixed(3)}. With a small τ every point pulls at the ` +
      "boundary, also those far away. With a larger τ, a larger k or HKR, those near the boundary count most.",
  );
}

/**
 * What helps where τ is too large for the discs to grow.
 *
 * @param {Settings} settings
 */
function hint({ loss, tau, k }) {
  if (loss !== "crossentropy" || tau * k < 100) return "";
  return " With so large a τ, a point on its side hardly pulls any more. Try a smaller one.";
}

/**
 * @param {Moment} moment
 * @returns {Verdict}
 */
function checkFool({ tried }) {
  if (tried === null) return not("Choose a point and move it.");
  const { from, to, before, after } = tried;
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  if (!isRight(from, before.ordinary)) return not("The ordinary network was wrong about this point before it moved.");
  if (!isRight(from, before.constrained))
    return not("The constrained network was wrong about this point before it moved.");
  if (isRight(from, after.ordinary))
    return not(`The ordinary network still decides correctly, ${length.toFixed(3)} away.`);
  if (!(length < FOOL_GOAL)) return not(`The ordinary network is fooled, but the step is ${length.toFixed(3)} long.`);
  if (!isRight(from, after.constrained)) return not("Both networks are fooled. Try another point.");
  return done(
    `A step of ${length.toFixed(3)} fools the ordinary network and not the constrained one. The score of an ordinary ` +
      "network may change quickly; that of a constrained one changes by at most k times the length of the step.",
  );
}

/**
 * @param {Moment} moment
 * @returns {Verdict}
 */
function checkRelu({ settings, points, constrained }) {
  const { presets } = CHALLENGES.relu;
  const kept = /** @type {const} */ (["depth", "width", "k", "loss", "tau"]);
  if (kept.some((name) => settings[name] !== presets[name])) return not("Layers, width, k, the loss or τ were changed.");
  if (!areGiven("relu", points)) return not(CHANGED);
  const reached = `The loss of the constrained network is ${constrained.loss.toFixed(4)}.`;
  if (!(constrained.loss < RELU_GOAL)) return not(reached);
  return done(
    `${reached} ReLU sets negative values to 0, so a network that may stretch nothing loses slope in every layer. ` +
      "GroupSort2 and MaxMin only move values around: they keep the norm of the gradient.",
  );
}

/**
 * Whether the sign of a score is that of the class.
 *
 * @param {Point} point
 * @param {number} score
 * @returns {boolean}
 */
export function isRight(point, score) {
  return score > 0 === (point.label === 1);
}

/**
 * Whether points are those that a challenge begins with.
 *
 * @param {keyof typeof CHALLENGES} name
 * @param {Point[]} points
 */
function areGiven(name, points) {
  const { data, noise, seed } = { ...startSettings(), ...CHALLENGES[name].presets };
  const given = toyPoints(/** @type {import("./points.js").Toy} */ (data), noise, seed);
  return (
    points.length === given.length &&
    given.every(({ x, y, label }, i) => x === points[i].x && y === points[i].y && label === points[i].label)
  );
}

/**
 * @param {string} words
 * @returns {Verdict}
 */
function not(words) {
  return { done: false, words };
}

/**
 * @param {string} words
 * @returns {Verdict}
 */
function done(words) {
  return { done: true, words };
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} more
 */
function counted(count, one, more) {
  return `${count} ${count === 1 ? one : more}`;
}
