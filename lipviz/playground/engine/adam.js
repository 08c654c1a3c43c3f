/**
 * Adam by Keras's formula: the correction of both moments is part of the step size, and ε is added to √v.
 *
 * Reference: Kingma and Ba (2015), Adam: a method for stochastic optimization, the end of section 2.
 */

const BETA_1 = 0.9;
const BETA_2 = 0.999;
const EPSILON = 1e-7;

export class Adam {
  /** @param {Float64Array[]} parameters Arrays that are changed in place. */
  constructor(parameters) {
    this.parameters = parameters;
    this.first = parameters.map((values) => new Float64Array(values.length));
    this.second = parameters.map((values) => new Float64Array(values.length));
    this.steps = 0;
  }

  /**
   * Takes a step.
   *
   * @param {Float64Array[]} gradients One for each array of parameters.
   * @param {number} rate Learning rate.
   * @param {number} [decay] Weight decay: before the step, all parameters shrink by this share of the learning rate.
   */
  step(gradients, rate, decay = 0) {
    this.steps += 1;
    if (decay) for (const values of this.parameters) values.forEach((value, i) => (values[i] -= value * rate * decay));
    const size = (rate * Math.sqrt(1 - BETA_2 ** this.steps)) / (1 - BETA_1 ** this.steps);
    this.parameters.forEach((values, i) => move(values, gradients[i], this.first[i], this.second[i], size));
  }
}

/**
 * @param {Float64Array} values
 * @param {Float64Array} gradient
 * @param {Float64Array} m
 * @param {Float64Array} v
 * @param {number} size
 */
function move(values, gradient, m, v, size) {
  for (let i = 0; i < values.length; i++) {
    m[i] += (gradient[i] - m[i]) * (1 - BETA_1);
    v[i] += (gradient[i] ** 2 - v[i]) * (1 - BETA_2);
    values[i] -= (m[i] * size) / (Math.sqrt(v[i]) + EPSILON);
  }
}
