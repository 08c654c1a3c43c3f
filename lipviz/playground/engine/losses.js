/**
 * Losses of classifiers with one score, whose sign decides: means over the samples, with their gradients.
 *
 * @typedef {object} LossValue
 * @property {number} value Mean over the samples.
 * @property {Float64Array} gradient With respect to each score.
 *
 * Labels are 0 and 1. The formulas are those of `lipviz.losses`.
 */

/** Weight α of the hinge in HKR. */
export const HKR_ALPHA = 10;

/**
 * Crossentropy of the logits τ·f, divided by τ: `TauBinaryCrossentropy(tau)`.
 *
 * @param {Float64Array} scores
 * @param {ArrayLike<number>} labels
 * @param {number} tau Inverse temperature, positive.
 * @returns {LossValue}
 */
export function crossEntropy(scores, labels, tau) {
  const n = scores.length;
  let value = 0;
  const gradient = scores.map((score, i) => {
    const wrong = labels[i] > 0 ? -score : score;
    value += (Math.max(wrong, 0) + Math.log1p(Math.exp(-tau * Math.abs(wrong))) / tau) / n;
    return (labels[i] > 0 ? -sigmoid(tau * wrong) : sigmoid(tau * wrong)) / n;
  });
  return { value, gradient };
}

/**
 * @param {number} x
 */
function sigmoid(x) {
  const small = Math.exp(-Math.abs(x));
  return x < 0 ? small / (1 + small) : 1 / (1 + small);
}

/**
 * −KR + α·hinge: `HKR(alpha, min_margin)`.
 *
 * KR is the difference of the mean scores of the two classes; the mean of a class without samples counts as 0. The
 * hinge is the mean of max(0, margin/2 − s·f) with s = ±1.
 *
 * @param {Float64Array} scores
 * @param {ArrayLike<number>} labels
 * @param {number} margin Wanted distance between the scores of the two classes.
 * @param {number} [alpha] Weight of the hinge.
 * @returns {LossValue}
 */
export function hkr(scores, labels, margin, alpha = HKR_ALPHA) {
  const n = scores.length;
  const positive = countPositive(labels);
  const shares = [1 / Math.max(n - positive, 1), 1 / Math.max(positive, 1)];
  let value = 0;
  const gradient = scores.map((score, i) => {
    const isPositive = labels[i] > 0;
    const sign = isPositive ? 1 : -1;
    const share = shares[isPositive ? 1 : 0];
    const hinge = margin / 2 - sign * score;
    value += (alpha * Math.max(hinge, 0)) / n - sign * share * score;
    return -sign * (share + (hinge > 0 ? alpha / n : 0));
  });
  return { value, gradient };
}

/**
 * @param {ArrayLike<number>} labels
 */
function countPositive(labels) {
  let count = 0;
  for (let i = 0; i < labels.length; i++) count += labels[i] > 0 ? 1 : 0;
  return count;
}

/**
 * @typedef {object} LossSettings
 * @property {"crossentropy" | "hkr"} loss
 * @property {number} tau Inverse temperature of the crossentropy.
 * @property {number} margin Margin of HKR.
 */

/**
 * The loss that the settings name.
 *
 * @param {LossSettings} settings
 * @param {Float64Array} scores
 * @param {ArrayLike<number>} labels
 * @returns {LossValue}
 */
export function lossOf(settings, scores, labels) {
  if (settings.loss === "hkr") return hkr(scores, labels, settings.margin);
  return crossEntropy(scores, labels, settings.tau);
}
