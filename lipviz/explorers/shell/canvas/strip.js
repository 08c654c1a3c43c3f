/**
 * What is known of the images of a strip, which comes as bytes: in numbers, in words and in pixels.
 *
 * @typedef {object} Images
 * @property {number} count
 * @property {number} height
 * @property {number} width
 * @property {number} channels 1 or 3.
 * @property {Uint8Array} pixels
 *
 * @typedef {object} Fact What is known of an image.
 * @property {number} number Of the image, from 0.
 * @property {number} predicted
 * @property {number} radius
 * @property {number | null} label
 */

import { roundedDown } from "../../../playground/page/numbers.js";
import { numbers } from "./bytes.js";

/**
 * @param {{shape?: number[], pixels?: DataView}} sent
 * @returns {Images | null} Null as long as there are none.
 */
export function imagesOf({ shape, pixels }) {
  if (!shape || !pixels) return null;
  const [count, height, width, channels] = shape;
  return { count, height, width, channels, pixels: numbers(Uint8Array, pixels) };
}

/**
 * The pixels of an image as a canvas takes them: red, green, blue and opacity of each.
 *
 * @param {Images} images
 * @param {number} number
 */
export function pixelsOf({ height, width, channels, pixels }, number) {
  const size = height * width;
  const found = new Uint8ClampedArray(4 * size).fill(255);
  for (let i = 0; i < size; i++) {
    const at = (number * size + i) * channels;
    for (let c = 0; c < 3; c++) found[4 * i + c] = pixels[channels === 3 ? at + c : at];
  }
  return found;
}

/**
 * What is known of the image at each place.
 *
 * @param {{order?: DataView, predicted?: DataView, radii?: DataView, labels?: DataView | null}} sent
 * @returns {Fact[]} None as long as nothing is known.
 */
export function factsOf({ order, predicted, radii, labels }) {
  if (!order || !predicted || !radii) return [];
  const classes = numbers(Int32Array, predicted);
  const lengths = numbers(Float64Array, radii);
  const truths = labels && numbers(Int32Array, labels);
  return Array.from(numbers(Int32Array, order), (number) => {
    return { number, predicted: classes[number], radius: lengths[number], label: truths ? truths[number] : null };
  });
}

/** @param {Fact} fact */
export function isWrong({ label, predicted }) {
  return label !== null && label !== predicted;
}

/** @param {Fact} fact */
export function wordsOf(fact) {
  const truth = fact.label === null ? "" : `true class ${fact.label}, `;
  const wrong = isWrong(fact) ? ", which is wrong" : "";
  return `Image ${fact.number}: ${truth}predicted class ${fact.predicted}${wrong}, certified radius ${roundedDown(fact.radius)}`;
}

/**
 * The share of the largest radius that an image has.
 *
 * @param {Fact} fact
 * @param {Fact[]} facts
 */
export function shareOf({ radius }, facts) {
  const largest = facts.reduce((most, one) => (Number.isFinite(one.radius) ? Math.max(most, one.radius) : most), 0);
  return largest > 0 ? Math.min(1, Math.max(0, radius / largest)) : 0;
}

const PAGE = 10; // tiles of a press of Page Up or Page Down

/**
 * The place to which a key leads.
 *
 * @param {string} key As a `KeyboardEvent` names it.
 * @param {number} place
 * @param {number} most The last place.
 * @returns {number | null} Null where the key does nothing.
 */
export function placeAfter(key, place, most) {
  /** @type {Record<string, number>} */
  const ways = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, PageUp: -PAGE, PageDown: PAGE };
  if (key === "Home") return 0;
  if (key === "End") return most;
  return key in ways ? Math.min(Math.max(place + ways[key], 0), most) : null;
}
