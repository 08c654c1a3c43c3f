/** A small curve of numbers over the steps of a training, from its smallest to its largest value. */

import { element } from "./elements.js";

const HEIGHT = 18; // pixels of CSS

export class Curve {
  constructor() {
    this.canvas = element("canvas", { class: "curve", "aria-hidden": "true" });
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
  }

  /**
   * Draws values from left to right.
   *
   * @param {number[]} values Finite.
   * @param {string} colour
   */
  draw(values, colour) {
    const { canvas, context } = this;
    const density = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * density)); // which also clears it
    canvas.height = HEIGHT * density;
    if (values.length < 2) return;
    context.strokeStyle = colour;
    context.lineWidth = 1.3 * density;
    context.beginPath();
    heights(values).forEach((height, i) => {
      const x = (i / (values.length - 1)) * canvas.width;
      context.lineTo(x, density + (1 - height) * (canvas.height - 2 * density));
    });
    context.stroke();
  }
}

/**
 * Values as shares of their range.
 *
 * @param {number[]} values
 */
export function heights(values) {
  const least = Math.min(...values);
  const range = Math.max(...values) - least || 1;
  return values.map((value) => (value - least) / range);
}
