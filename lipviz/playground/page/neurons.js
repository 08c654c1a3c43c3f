/**
 * The neurons of a network: a small picture of what each computes, with lines between them for the weights.
 *
 * @typedef {import("../engine/kinds.js").Kind} Kind
 * @typedef {import("../engine/neurons.js").Neurons} Known
 * @typedef {import("./panel.js").Theme} Theme
 * @typedef {{layer: number, number: number}} Place Of a neuron.
 *
 * @typedef {object} Owner What the pictures belong to.
 * @property {() => void} lookAtNeurons Called where another neuron is looked at, or the pictures are asked for.
 * @property {(words: string) => void} announce
 */

import { EXTENT } from "../engine/points.js";
import { fieldOf, linksOf } from "../engine/neurons.js";
import { element, say } from "./elements.js";
import { rounded } from "./numbers.js";
import { paintFields } from "./panel.js";

const PITCHES = /** @type {const} */ ([[8, 30], [16, 21], [Infinity, 14]]); // pixels from tile to tile of so many
const GAP = 3;
const WEAKEST = 0.2; // share of the largest weight below which a line would be a hair
const THICKEST = 3.5;
const KEYS = /** @type {Record<string, [number, number]>} */ ({
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
});

/** @param {number} count Of the tiles of the tallest column. */
function pitchOf(count) {
  return /** @type {[number, number]} */ (PITCHES.find(([most]) => count <= most))[1];
}

export class NeuronPictures {
  /** @type {Known | null} */
  known = null;
  /** @type {Place | null} The neuron that is looked at. */
  chosen = null;

  /**
   * @param {Kind} kind
   * @param {boolean} open
   * @param {Owner} owner
   */
  constructor(kind, open, owner) {
    this.owner = owner;
    const label = `Neurons of the ${kind} network; arrow keys choose one, and the large picture shows it`;
    this.canvas = element("canvas", { class: "neurons", tabindex: 0, role: "application", "aria-label": label });
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    this.image = document.createElement("canvas");
    this.words = element("p", { class: "about" });
    this.root = element("details", { open }, element("summary", {}, "Neurons and weights"), this.canvas, this.words);
    this.root.addEventListener("toggle", () => owner.lookAtNeurons());
    this.listen();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointermove", (event) => this.choose(this.neuronAt(event)));
    canvas.addEventListener("pointerdown", (event) => this.choose(this.neuronAt(event)));
    canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.choose(null));
    canvas.addEventListener("blur", () => this.choose(null));
    canvas.addEventListener("keydown", (event) => {
      if (this.press(event.key)) event.preventDefault();
    });
  }

  get isOpen() {
    return this.root.open;
  }

  // --- which neuron ---

  /** @param {string} key */
  press(key) {
    if (key === "Escape") this.choose(null);
    if (!(key in KEYS) || !this.known) return key === "Escape";
    const [across, down] = KEYS[key];
    const { layers } = this.known;
    const before = this.chosen ?? { layer: 1 - across, number: -down };
    const layer = Math.min(Math.max(before.layer + across, 0), layers.length - 1);
    this.choose({ layer, number: Math.min(Math.max(before.number + down, 0), layers[layer].cols - 1) });
    if (this.chosen) this.owner.announce(wordsOf(this.known, this.chosen));
    return true;
  }

  /** @param {Place | null} place */
  choose(place) {
    const { chosen } = this;
    if (place?.layer === chosen?.layer && place?.number === chosen?.number) return;
    this.chosen = place;
    this.owner.lookAtNeurons();
  }

  /**
   * @param {PointerEvent} event
   * @returns {Place | null}
   */
  neuronAt(event) {
    if (!this.known) return null;
    const { left, top } = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    for (const [layer, { cols }] of this.known.layers.entries()) {
      for (let number = 0; number < cols; number++) {
        const tile = this.tile(layer, number);
        const half = this.pitch / 2;
        if (Math.abs(x - tile.x) <= half && Math.abs(y - tile.y) <= half) return { layer, number };
      }
    }
    return null;
  }

  // --- pictures ---

  get pitch() {
    return pitchOf(Math.max(...(this.known?.layers ?? []).map(({ cols }) => cols)));
  }

  /**
   * The middle of a neuron's picture, in pixels of CSS.
   *
   * @param {number} layer
   * @param {number} number
   */
  tile(layer, number) {
    const { layers } = /** @type {Known} */ (this.known);
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const room = width - this.pitch;
    const x = this.pitch / 2 + (room * layer) / (layers.length - 1);
    return { x, y: height / 2 + (number - (layers[layer].cols - 1) / 2) * this.pitch };
  }

  /**
   * @param {Known} known
   * @param {Theme} theme
   */
  draw(known, theme) {
    this.known = known;
    const { canvas, context } = this;
    const density = Math.min(window.devicePixelRatio || 1, 2);
    const height = this.pitch * Math.max(...known.layers.map(({ cols }) => cols));
    canvas.style.height = `${height}px`;
    const [across, down] = [Math.max(1, Math.round(canvas.clientWidth * density)), Math.round(height * density)];
    if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, across, down);
    known.kernels.forEach((_, layer) => this.drawLinks(layer, theme));
    known.layers.forEach((_, layer) => this.drawLayer(layer, theme));
    this.tell();
  }

  /**
   * @param {number} layer
   * @param {Theme} theme
   */
  drawLinks(layer, theme) {
    const { context, chosen } = this;
    for (const { from, to, weight, share } of linksOf(/** @type {Known} */ (this.known), layer)) {
      const isOfChosen =
        chosen !== null &&
        ((chosen.layer === layer && chosen.number === from) || (chosen.layer === layer + 1 && chosen.number === to));
      if (share < WEAKEST && !isOfChosen) continue;
      const [start, end] = [this.tile(layer, from), this.tile(layer + 1, to)];
      context.strokeStyle = theme.classes[weight > 0 ? 1 : 0];
      context.lineWidth = Math.max(0.4, THICKEST * share * share);
      context.globalAlpha = chosen === null ? 0.15 + 0.6 * share : isOfChosen ? 1 : 0.06;
      context.beginPath();
      context.moveTo(start.x, start.y);
      context.lineTo(end.x, end.y);
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  /**
   * @param {number} layer
   * @param {Theme} theme
   */
  drawLayer(layer, theme) {
    const { context, chosen, image } = this;
    const known = /** @type {Known} */ (this.known);
    const { side } = known;
    const size = this.pitch - GAP;
    const fields = Array.from({ length: known.layers[layer].cols }, (_, i) => fieldOf(known, layer, i, EXTENT));
    paintFields(image, fields, theme);
    for (let number = 0; number < fields.length; number++) {
      const { x, y } = this.tile(layer, number);
      context.drawImage(image, 0, number * side, side, side, x - size / 2, y - size / 2, size, size);
      const isChosen = chosen?.layer === layer && chosen.number === number;
      context.strokeStyle = theme.ink;
      context.lineWidth = isChosen ? 2.5 : 0.6;
      context.strokeRect(x - size / 2, y - size / 2, size, size);
    }
  }

  tell() {
    say(this.words, this.chosen ? wordsOf(/** @type {Known} */ (this.known), this.chosen) : HINT);
  }
}

const HINT = "Lines are weights: the thicker, the larger; orange ones are positive. Point at a neuron to see it large.";

/**
 * @param {Known} known
 * @param {Place} place
 */
export function wordsOf(known, { layer, number }) {
  const { layers } = known;
  const { scores } = fieldOf(known, layer, number, EXTENT);
  const range = `from ${rounded(Math.min(...scores), 2)} to ${rounded(Math.max(...scores), 2)}`;
  if (layer === 0) return `Input ${number + 1}, ${range}.`;
  if (layer === layers.length - 1) return `The score, ${range}.`;
  return `Neuron ${number + 1} of ${layers[layer].cols} in hidden layer ${layer}, behind its activation: ${range}.`;
}
