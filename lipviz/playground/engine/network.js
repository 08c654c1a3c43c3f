/**
 * Networks of dense layers with one score, their gradients, and what they compute with.
 *
 * @typedef {import("./matrix.js").Matrix} Matrix
 *
 * @typedef {object} NetworkSettings
 * @property {"groupsort2" | "maxmin" | "relu"} activation After each hidden layer.
 * @property {number} width Channels after each activation; even for GroupSort2 and MaxMin. MaxMin doubles channels, so
 *   the layers before it have half as many units.
 * @property {number} depth Number of hidden layers.
 * @property {boolean} constrained Whether kernels are orthonormalized, as by `SpectralDense` in a `lipviz.Sequential`.
 * @property {number} k Lipschitz constant of a constrained network.
 *
 * @typedef {object} Layer
 * @property {Matrix} kernel What is trained, of shape (inputs, units).
 * @property {Float64Array} bias
 *
 * @typedef {object} Network
 * @property {NetworkSettings} settings
 * @property {Layer[]} layers
 *
 * @typedef {object} Used What a network computes with: the result of `used`.
 * @property {NetworkSettings} settings
 * @property {Matrix[]} kernels Constrained kernels, or the kernels themselves.
 * @property {Float64Array[]} biases
 * @property {number} share Factor of each constrained kernel, and of each activation that shares k.
 * @property {import("./bjorck.js").Orthonormalized[]} orthonormalized Of a constrained network.
 *
 * @typedef {object} Run
 * @property {Float64Array} scores One for each sample.
 * @property {Matrix[]} inputs What each layer took.
 * @property {Matrix[]} outputs What each layer returned, before the activation.
 */

import { ACTIVATIONS } from "./activations.js";
import { orthonormalize, pullBack } from "./bjorck.js";
import { mapped, multiply, scaled, transpose, transposedTimes, zeros } from "./matrix.js";
import { Random } from "./random.js";

/** Initial biases of hidden layers are uniform up to this size; with biases of 0, all kinks would lie at the origin. */
export const BIAS = 0.5;

/**
 * Draws a network.
 *
 * @param {NetworkSettings} settings
 * @param {number} seed
 * @param {number} [inputs]
 * @returns {Network}
 */
export function makeNetwork(settings, seed, inputs = 2) {
  const random = new Random(seed);
  const units = settings.width / ACTIVATIONS[settings.activation].growth;
  const layers = [];
  for (let i = 0; i <= settings.depth; i++) {
    const isLast = i === settings.depth;
    const before = i === 0 ? inputs : settings.width;
    layers.push(makeLayer(random, before, isLast ? 1 : units, settings.constrained, isLast ? 0 : BIAS));
  }
  return { settings, layers };
}

/**
 * @param {Random} random
 * @param {number} inputs
 * @param {number} units
 * @param {boolean} constrained
 * @param {number} bias
 */
function makeLayer(random, inputs, units, constrained, bias) {
  const drawn = mapped(zeros(inputs, units), () => random.normal());
  // He's scale for the ordinary network; a constrained kernel starts orthonormal, like that of `SpectralInitializer`.
  const kernel = constrained ? orthonormalize(drawn).matrix : scaled(drawn, Math.sqrt(2 / inputs));
  return { kernel, bias: new Float64Array(units).map(() => bias * (2 * random.uniform() - 1)) };
}

/**
 * The factor that each layer with a share of k multiplies by: k^(1/n) for n such layers.
 *
 * @param {NetworkSettings} settings
 * @returns {number} 1 for an ordinary network.
 */
export function shareOfK(settings) {
  if (!settings.constrained) return 1;
  const activations = ACTIVATIONS[settings.activation].sharesK ? settings.depth : 0;
  return settings.k ** (1 / (settings.depth + 1 + activations));
}

/**
 * The factor of the activations.
 *
 * @param {NetworkSettings} settings
 * @returns {number}
 */
export function activationFactor(settings) {
  return ACTIVATIONS[settings.activation].sharesK ? shareOfK(settings) : 1;
}

/**
 * What a network computes with. Found once for each step: orthonormalizing takes longer than a forward pass.
 *
 * @param {Network} network
 * @returns {Used}
 */
export function used({ settings, layers }) {
  const share = shareOfK(settings);
  const biases = layers.map((layer) => layer.bias);
  const raw = layers.map((layer) => layer.kernel);
  if (!settings.constrained) return { settings, kernels: raw, biases, share, orthonormalized: [] };
  const orthonormalized = raw.map(orthonormalize);
  return { settings, kernels: orthonormalized.map((one) => scaled(one.matrix, share)), biases, share, orthonormalized };
}

/**
 * Scores of samples.
 *
 * @param {Used} network
 * @param {Matrix} x Of shape (samples, inputs).
 * @returns {Run}
 */
export function run(network, x) {
  const { apply } = ACTIVATIONS[network.settings.activation];
  const factor = activationFactor(network.settings);
  const inputs = [x];
  /** @type {Matrix[]} */
  const outputs = [];
  network.kernels.forEach((kernel, i) => {
    if (i > 0) inputs.push(scaled(apply(outputs[i - 1]), factor));
    outputs.push(withBias(multiply(inputs[i], kernel), network.biases[i]));
  });
  return { scores: outputs[outputs.length - 1].data, inputs, outputs };
}

/**
 * Adds the bias to each row, in place.
 *
 * @param {Matrix} out
 * @param {Float64Array} bias
 */
function withBias(out, bias) {
  for (let i = 0; i < out.data.length; i += out.cols) {
    for (let j = 0; j < out.cols; j++) out.data[i + j] += bias[j];
  }
  return out;
}

/**
 * @typedef {object} Gradients
 * @property {Layer[]} layers Gradients of the kernels that are trained, and of the biases; empty where not asked for.
 * @property {Matrix} inputs Gradients of the samples.
 */

/**
 * Gradients of Σ upstream·scores.
 *
 * @param {Used} network
 * @param {Run} forward
 * @param {Float64Array} upstream One number for each sample.
 * @param {boolean} [ofLayers] Whether those of the layers are asked for.
 * @returns {Gradients}
 */
export function gradients(network, forward, upstream, ofLayers = true) {
  const activation = ACTIVATIONS[network.settings.activation];
  const factor = activationFactor(network.settings);
  /** @type {Layer[]} */
  const layers = [];
  let above = { rows: upstream.length, cols: 1, data: upstream };
  for (let i = network.kernels.length - 1; i >= 0; i--) {
    if (ofLayers) layers.unshift(layerGradient(network, i, forward.inputs[i], above));
    above = multiply(above, transpose(network.kernels[i]));
    if (i > 0) above = activation.pullBack(forward.outputs[i - 1], scaled(above, factor));
  }
  return { layers, inputs: above };
}

/**
 * Gradients of a layer, from those of its outputs.
 *
 * @param {Used} network
 * @param {number} i Number of the layer.
 * @param {Matrix} inputs What the layer took.
 * @param {Matrix} above Gradients of its outputs.
 * @returns {Layer}
 */
function layerGradient(network, i, inputs, above) {
  const gradient = transposedTimes(inputs, above);
  const isConstrained = network.settings.constrained;
  const kernel = isConstrained ? pullBack(network.orthonormalized[i], scaled(gradient, network.share)) : gradient;
  return { kernel, bias: columnSums(above) };
}

/**
 * @param {Matrix} a
 */
function columnSums(a) {
  const sums = new Float64Array(a.cols);
  a.data.forEach((value, i) => (sums[i % a.cols] += value));
  return sums;
}
