/** Numbers over the steps of a training, few enough to draw: where there are many, every second one is dropped. */

const MOST = 400;

export class History {
  /** @type {number[]} */
  values = [];
  /** Number of steps from one value to the next. */
  stride = 1;
  steps = 0;

  /**
   * Takes the value of a step.
   *
   * @param {number} value
   */
  add(value) {
    if (this.steps % this.stride === 0) this.values.push(value);
    this.steps += 1;
    if (this.values.length <= MOST) return;
    this.values = this.values.filter((_, i) => i % 2 === 0);
    this.stride *= 2;
  }
}
