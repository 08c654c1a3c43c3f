/**
 * The state of a playground: points, both networks, what is known of them, and the steps back. It draws nothing.
 *
 * @typedef {import("./challenges.js").Verdict} Verdict
 * @typedef {import("./points.js").Point} Point
 * @typedef {import("./settings.js").Settings} Settings
 * @typedef {import("./attack.js").Move} Move
 *
 * @typedef {object} View What is seen of a network.
 * @property {number} loss NaN without points.
 * @property {number[]} losses Losses of earlier steps, at equal distances.
 * @property {number} unseen Share of other points of the toy set that are decided rightly; NaN for own points.
 * @property {Float64Array} scores Of the points.
 * @property {Float64Array} radii Certified radii of the points, whatever their class.
 * @property {boolean[]} right Whether each point is decided rightly.
 * @property {import("./certificate.js").Certificate} certificate
 * @property {import("./contour.js").Field} field
 * @property {import("./attack.js").Place[]} boundary
 * @property {(Move | null)[]} moves Best moves of the attacker; empty where they are not asked for.
 * @property {Point[]} [places] The points of `scores`, `radii` and `moves`, where they are not those that are drawn.
 *
 * @typedef {object} Reading What is known of a place.
 * @property {number} score
 * @property {number} radius Certified radius.
 * @property {Move | null} move Best move of the attacker.
 *
 * @typedef {import("./kinds.js").Kind} Kind
 */

import { bestMoves, scoresAt } from "./attack.js";
import { certify, radii } from "./certificate.js";
import { CHALLENGES, isRight } from "./challenges.js";
import { contour } from "./contour.js";
import { EditedPoints } from "./edited.js";
import { field } from "./field.js";
import { KINDS } from "./kinds.js";
import { fieldOf, neuronsOf } from "./neurons.js";
import { EXTENT, matrixOf, toyPoints } from "./points.js";
import { readAddress, SETTINGS, startSettings, writeAddress } from "./settings.js";
import { Training } from "./training.js";

/** Most rows and columns of the grid of scores. */
export const SIDE = 48;
/** Number of points of a toy set that no network learns from. */
export const UNSEEN = 200;
const NEURON_SIDE = 16; // of the small pictures of neurons
const UNSEEN_SEED = 1000; // above every seed that a control offers
/** Settings that a training takes over without a new start. */
const LIVE = ["k", "loss", "tau", "margin", "rate", "decay"];

/**
 * New trainings of both networks.
 *
 * @param {Settings} settings
 * @returns {Record<Kind, Training>}
 */
function trainingsOf(settings) {
  return {
    ordinary: new Training({ ...settings, constrained: false }, settings.seed),
    constrained: new Training({ ...settings, constrained: true }, settings.seed),
  };
}

/**
 * Share of points that a network decides rightly.
 *
 * @param {import("./network.js").Used} network
 * @param {Point[]} points At least one.
 */
function shareRight(network, points) {
  const scores = scoresAt(network, points);
  return points.filter((point, i) => isRight(point, scores[i])).length / points.length;
}

export class Playground extends EditedPoints {
  settings = startSettings();
  trainings = trainingsOf(this.settings);
  /** @type {Settings["data"]} What `given` are. */
  givenData = "own";
  /** @type {Point[]} Points like those of the toy set, which no network learns from; empty for own points. */
  unseen = [];
  /** @type {string[]} What could not be used of the address. */
  problems = [];
  /** @type {Record<Kind, View> | null} */
  known = null;
  /** Rows and columns of the grid of scores. */
  side = SIDE;
  /** Whether the attacker's moves are asked for. */
  wantsMoves = true;

  /** @param {string} [address] The part of an address behind #. */
  constructor(address = "") {
    super();
    this.open(address);
  }

  /**
   * Takes the settings and points of an address.
   *
   * @param {string} address
   */
  open(address) {
    const { settings, points, problems } = readAddress(address);
    this.settings = settings;
    this.problems = problems;
    // An address of nothing but a challenge has the settings of the challenge.
    if (writeAddress(settings, []) === `challenge=${settings.challenge}`) this.take(settings.challenge);
    else this.begin(points ?? this.drawn());
  }

  /** The points of the toy set that the settings name; of the first one, where they are the user's own. */
  drawn() {
    const { data, noise, seed } = this.settings;
    const toy = data === "own" ? /** @type {import("./points.js").Toy} */ (SETTINGS.data.start) : data;
    return toyPoints(toy, noise, seed);
  }

  /** Other points of the toy set that the settings name; none, where the points are the user's own. */
  drawnUnseen() {
    const { data, noise, seed } = this.settings;
    return data === "own" ? [] : toyPoints(data, noise, UNSEEN_SEED + seed, UNSEEN);
  }

  /**
   * Begins with some points, which are those to go back to.
   *
   * @param {Point[]} points
   */
  begin(points) {
    this.points = points;
    this.given = points;
    this.givenData = this.settings.data;
    this.unseen = this.drawnUnseen();
    this.undone = [];
    this.choose(null);
    this.restart();
  }

  /** Draws both networks anew. */
  restart() {
    this.trainings = trainingsOf(this.settings);
    this.forget();
  }

  /** Drops what was computed of the networks and points. */
  forget() {
    this.known = null;
  }

  /** Steps of training so far. */
  get steps() {
    return this.trainings.constrained.steps;
  }

  /**
   * Takes a step with both networks.
   *
   * @returns {boolean} Whether it was taken: there are points, and all gradients are finite.
   */
  step() {
    if (!this.points.length) return false;
    const x = matrixOf(this.points);
    const labels = this.points.map(({ label }) => label);
    const taken = KINDS.map((kind) => this.trainings[kind].step(x, labels));
    this.forget();
    return taken.every(Boolean);
  }

  /**
   * Changes a setting. Points or networks begin anew where they depend on it.
   *
   * @param {keyof Settings} name
   * @param {string | number} value One of the values of the setting.
   */
  set(name, value) {
    if (!SETTINGS[name].values.includes(value) || this.settings[name] === value) return;
    if (name === "challenge") return this.take(/** @type {string} */ (value));
    Object.assign(this.settings, { [name]: value });
    if (LIVE.includes(name)) this.changeTrainings();
    else if (value === "own") return;
    else if (["data", "noise", "seed"].includes(name) && this.settings.data !== "own") this.begin(this.drawn());
    else this.restart();
  }

  changeTrainings() {
    for (const kind of KINDS) this.trainings[kind].change(this.settings);
    this.forget();
  }

  /**
   * Opens a challenge, with its settings and points; "none" closes it.
   *
   * @param {string} name
   */
  take(name) {
    if (name === "none") {
      this.settings.challenge = name;
      return;
    }
    const { presets } = CHALLENGES[/** @type {keyof typeof CHALLENGES} */ (name)];
    this.settings = { ...startSettings(), ...presets, challenge: name };
    this.begin(this.drawn());
  }

  /**
   * Takes other points, which are the user's own, or those to go back to.
   *
   * @param {Point[]} points
   */
  replace(points) {
    super.replace(points);
    this.settings.data = points === this.given ? this.givenData : "own";
    this.forget();
  }

  // --- what is known ---

  /**
   * What is seen of both networks now.
   *
   * @returns {Record<Kind, View>}
   */
  view() {
    this.known ??= { ordinary: this.viewOf("ordinary"), constrained: this.viewOf("constrained") };
    return this.known;
  }

  /**
   * @param {Kind} kind
   * @returns {View}
   */
  viewOf(kind) {
    const training = this.trainings[kind];
    const certificate = certify(training.used);
    const scoresOfGrid = field(training.used, this.side, EXTENT);
    const boundary = contour(scoresOfGrid);
    const rest = this.viewOfPoints(training, certificate, boundary);
    const unseen = this.settings.data === "own" ? NaN : shareRight(training.used, this.unseen);
    return { certificate, field: scoresOfGrid, boundary, losses: training.losses.values, unseen, ...rest };
  }

  /**
   * @param {Training} training
   * @param {import("./certificate.js").Certificate} certificate
   * @param {import("./attack.js").Place[]} boundary
   */
  viewOfPoints(training, certificate, boundary) {
    const { points } = this;
    const none = new Float64Array(0);
    if (!points.length) return { loss: NaN, scores: none, radii: none, right: [], moves: [] };
    const x = matrixOf(points);
    const scores = scoresAt(training.used, points);
    return {
      loss: training.loss(
        x,
        points.map(({ label }) => label),
      ),
      scores,
      radii: radii(certificate, scores, x),
      right: points.map((one, i) => isRight(one, scores[i])),
      moves: this.wantsMoves ? bestMoves(training.used, points, boundary) : [],
    };
  }

  /**
   * What a network says of a place.
   *
   * @param {Kind} kind
   * @param {import("./attack.js").Place} place
   * @returns {Reading}
   */
  reading(kind, place) {
    const { used } = this.trainings[kind];
    const { certificate, boundary } = this.view()[kind];
    const scores = scoresAt(used, [place]);
    const radius = radii(certificate, scores, matrixOf([place]))[0];
    return { score: scores[0], radius, move: bestMoves(used, [place], boundary)[0] };
  }

  /**
   * What each neuron of a network computes, on a coarse grid.
   *
   * @param {Kind} kind
   */
  neurons(kind) {
    return neuronsOf(this.trainings[kind].used, NEURON_SIDE, EXTENT);
  }

  /**
   * What is seen of a network, with the output of a neuron in place of the score.
   *
   * @param {Kind} kind
   * @param {{layer: number, number: number}} neuron
   * @returns {View}
   */
  viewOfNeuron(kind, { layer, number }) {
    const scores = fieldOf(neuronsOf(this.trainings[kind].used, this.side, EXTENT), layer, number, EXTENT);
    return { ...this.view()[kind], field: scores, boundary: contour(scores) };
  }

  /**
   * What the open challenge says now; null where none is open.
   *
   * @returns {Verdict | null}
   */
  verdict() {
    const { settings, points } = this;
    if (settings.challenge === "none") return null;
    const { check } = CHALLENGES[/** @type {keyof typeof CHALLENGES} */ (settings.challenge)];
    const { ordinary, constrained } = this.view();
    return check({ settings, points, ordinary, constrained, tried: this.tried() });
  }

  /** The chosen point, where it was when it was chosen and where it is now; null where it has not moved. */
  tried() {
    const moved = this.moved();
    if (moved === null) return null;
    const { from, to } = moved;
    const [ordinary, constrained] = KINDS.map((kind) => scoresAt(this.trainings[kind].used, [from, to]));
    return {
      from,
      to,
      before: { ordinary: ordinary[0], constrained: constrained[0] },
      after: { ordinary: ordinary[1], constrained: constrained[1] },
    };
  }

  /** The part of an address behind # that opens this state. */
  get address() {
    return writeAddress(this.settings, this.points);
  }
}
