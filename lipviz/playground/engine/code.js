/** Python code that trains with lipviz what is seen on the page. */

import { ACTIVATIONS } from "./activations.js";
import { HKR_ALPHA } from "./losses.js";
import { BIAS } from "./network.js";

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./points.js").Point} Point */

const PER_LINE = 5;

/**
 * Code that trains both networks on the same points.
 *
 * @param {Settings} settings
 * @param {Point[]} points
 * @param {number} steps Steps of training so far.
 * @returns {string}
 */
export function pythonCode(settings, points, steps) {
  return `import keras
import numpy as np

import lipviz
from lipviz import layers, losses

x = np.array(
    [
${rows(points.map(({ x, y }) => `[${x}, ${y}]`))}
    ]
)
y = np.array(
    [
${rows(points.map(({ label }) => String(label)))}
    ]
)


def stack(dense):
    bias = keras.initializers.RandomUniform(-${BIAS}, ${BIAS})
    return [
        keras.Input((2,)),
${hiddenLayers(settings)}
        dense(1),
    ]


def trained(model):
    model.compile(keras.optimizers.Adam(${settings.rate}${decayCode(settings)}), ${lossCode(settings)})
    model.fit(x, y, batch_size=len(x), epochs=${Math.max(steps, 1)}, verbose=0)
    return model


ordinary = trained(keras.Sequential(stack(keras.layers.Dense)))
constrained = trained(lipviz.Sequential(stack(layers.SpectralDense), k_coef_lip=${settings.k}))

for name, model in (("ordinary", ordinary), ("constrained", constrained)):
    radii = lipviz.certified_radius(model, x, y).radii
    right = (radii > 0).sum()
    print(f"{name}: {right} of {len(x)} points are right, smallest certified radius {radii.min():.4f}")
`;
}

/**
 * @param {string[]} entries
 */
function rows(entries) {
  const lines = [];
  for (let i = 0; i < entries.length; i += PER_LINE) lines.push(entries.slice(i, i + PER_LINE).join(", "));
  return lines.map((line) => `        ${line},`).join("\n");
}

/**
 * @param {Settings} settings
 */
function hiddenLayers(settings) {
  const { growth, title } = ACTIVATIONS[settings.activation];
  const activation = settings.activation === "relu" ? "keras.layers.ReLU()" : `layers.${title}()`;
  const dense = `        dense(${settings.width / growth}, bias_initializer=bias),\n        ${activation},`;
  return Array(settings.depth).fill(dense).join("\n");
}

/**
 * @param {Settings} settings
 */
function decayCode({ decay }) {
  return decay ? `, weight_decay=${decay}` : "";
}

/**
 * @param {Settings} settings
 */
function lossCode({ loss, tau, margin }) {
  return loss === "hkr" ? `losses.HKR(${HKR_ALPHA}, min_margin=${margin})` : `losses.TauBinaryCrossentropy(${tau})`;
}
