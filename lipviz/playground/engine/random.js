/** A small generator of random numbers with a seed (mulberry32): the same seed gives the same numbers everywhere. */
export class Random {
  /** @param {number} seed A whole number of at least 0. */
  constructor(seed) {
    this.state = (seed * 2654435761 + 1) >>> 0;
  }

  /**
   * Uniform in [0, 1).
   *
   * @returns {number}
   */
  uniform() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let x = this.state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  }

  /**
   * Standard normal, by Box and Muller.
   *
   * @returns {number}
   */
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }
}
