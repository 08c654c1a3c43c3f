/**
 * Training on all samples at once, as a state that steps change.
 *
 * @typedef {import("./matrix.js").Matrix} Matrix
 * @typedef {import("./network.js").Network} Network
 * @typedef {import("./network.js").Used} Used
 *
 * @typedef {import("./network.js").NetworkSettings} NetworkSettings
 * @typedef {import("./losses.js").LossSettings} LossSettings
 * @typedef {NetworkSettings & LossSettings & {rate: number, decay?: number}} TrainingSettings `rate` is the learning rate,
 *   and `decay` the weight decay.
 */

import { Adam } from "./adam.js";
import { History } from "./history.js";
import { lossOf } from "./losses.js";
import { gradients, makeNetwork, run, used } from "./network.js";

/** A network, its optimizer, and the losses before each step. */
export class Training {
  /**
   * @param {TrainingSettings} settings
   * @param {number} seed Seed of the weights.
   */
  constructor(settings, seed) {
    this.settings = settings;
    this.network = makeNetwork(settings, seed);
    this.adam = new Adam(this.network.layers.flatMap((layer) => [layer.kernel.data, layer.bias]));
    /** @type {Used | null} */
    this.present = null;
    this.losses = new History();
  }

  /**
   * Takes other settings for the steps to come; those that the shapes of kernels depend on must stay the same.
   *
   * @param {Partial<TrainingSettings>} changes
   */
  change(changes) {
    this.settings = { ...this.settings, ...changes };
    this.network.settings = this.settings;
    this.present = null;
  }

  /** Number of steps so far. */
  get steps() {
    return this.adam.steps;
  }

  /**
   * What the network computes with now.
   *
   * @returns {Used}
   */
  get used() {
    this.present ??= used(this.network);
    return this.present;
  }

  /**
   * The loss of samples now.
   *
   * @param {Matrix} x
   * @param {ArrayLike<number>} labels
   * @returns {number}
   */
  loss(x, labels) {
    return lossOf(this.settings, run(this.used, x).scores, labels).value;
  }

  /**
   * Takes a step of Adam. Where the gradient is not finite, nothing changes.
   *
   * @param {Matrix} x Samples of shape (n, 2), at least one.
   * @param {ArrayLike<number>} labels 0 and 1, one for each sample.
   * @returns {boolean} Whether the step was taken.
   */
  step(x, labels) {
    const forward = run(this.used, x);
    const { value, gradient } = lossOf(this.settings, forward.scores, labels);
    const flat = gradients(this.used, forward, gradient).layers.flatMap((layer) => [layer.kernel.data, layer.bias]);
    if (!flat.every((values) => values.every(Number.isFinite))) return false;
    this.adam.step(flat, this.settings.rate, this.settings.decay);
    this.losses.add(value);
    this.present = null;
    return true;
  }
}
