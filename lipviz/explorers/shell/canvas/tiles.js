/**
 * A strip of images, one of which is picked: a group of radio buttons, each with a small canvas.
 *
 * @typedef {import("./strip.js").Fact} Fact
 * @typedef {import("./canvas.js").Model & {set: (name: string, value: any) => void, save_changes: () => void}} Model
 */

import { element, say } from "../../../playground/page/elements.js";
import { factsOf, imagesOf, isWrong, pixelsOf, placeAfter, shareOf, wordsOf } from "./strip.js";

class Strip {
  /** @type {HTMLButtonElement[]} */
  tiles = [];
  /** @type {Fact[]} */
  facts = [];
  /** @type {number | null} The place under the pointer or with the focus. */
  looked = null;

  /**
   * @param {Model} model
   * @param {HTMLElement} root
   */
  constructor(model, root) {
    this.model = model;
    const label = element("span", { class: "widget-label", title: model.get("tooltip") }, model.get("description"));
    this.strip = element("div", { class: "strip", role: "radiogroup", "aria-label": model.get("description") });
    this.strip.dataset.lmSuppressShortcuts = "true"; // else arrow keys would leave the cell of a notebook
    this.words = element("div", { class: "words", "aria-hidden": "true" }); // each tile has them as its name
    root.replaceChildren(label, this.strip, this.words);
    this.listen();
    this.makeTiles();
    this.drawAll();
  }

  listen() {
    const { model, strip } = this;
    const acts = { "change:max": () => this.makeTiles(), "change:value": () => this.showPicked() };
    const all = { ...acts, "change:pictures": () => this.drawAll(), "change:facts": () => this.drawAll() };
    for (const [name, act] of Object.entries(all)) model.on(name, act);
    this.forget = () => Object.entries(all).forEach(([name, act]) => model.off(name, act));
    strip.addEventListener("keydown", (event) => this.press(event));
    strip.addEventListener("click", (event) => this.pick(this.placeOf(event)));
    for (const kind of ["pointerover", "focusin"]) strip.addEventListener(kind, (event) => this.look(this.placeOf(event)));
    for (const kind of ["pointerleave", "focusout"]) strip.addEventListener(kind, () => this.look(null));
  }

  makeTiles() {
    this.tiles = Array.from({ length: this.model.get("max") + 1 }, () => {
      const marks = [element("canvas"), element("i", { class: "radius" }), element("i", { class: "sign" })];
      return element("button", { type: "button", role: "radio" }, ...marks);
    });
    this.strip.replaceChildren(...this.tiles);
    this.drawAll();
  }

  // --- what a reader does ---

  /** @param {Event} event */
  placeOf(event) {
    const tile = /** @type {HTMLElement} */ (event.target).closest("button");
    return tile === null ? null : this.tiles.indexOf(tile);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const place = placeAfter(event.key, this.model.get("value"), this.tiles.length - 1);
    if (place === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.pick(place);
    this.tiles[place].focus({ preventScroll: true });
  }

  /** @param {number | null} place */
  pick(place) {
    if (place === null || place === this.model.get("value")) return;
    this.model.set("value", place);
    this.model.save_changes();
  }

  /** @param {number | null} place */
  look(place) {
    this.looked = place;
    this.tell();
  }

  // --- what is seen ---

  drawAll() {
    this.facts = factsOf(this.model.get("facts"));
    const images = imagesOf(this.model.get("pictures"));
    this.tiles.forEach((tile, place) => {
      const fact = this.facts[place];
      if (images) drawImage(/** @type {HTMLCanvasElement} */ (tile.firstChild), images, fact?.number ?? place);
      tile.classList.toggle("wrong", Boolean(fact) && isWrong(fact));
      tile.setAttribute("aria-label", fact ? wordsOf(fact) : `Image ${place}`);
      tile.style.setProperty("--share", String(fact ? shareOf(fact, this.facts) : 0));
    });
    this.showPicked();
  }

  showPicked() {
    const picked = this.model.get("value");
    this.tiles.forEach((tile, place) => {
      tile.setAttribute("aria-checked", String(place === picked));
      tile.tabIndex = place === picked ? 0 : -1;
    });
    this.show(this.tiles[picked]);
    this.tell();
  }

  /**
   * Scrolls the strip, and not the page, to a tile.
   *
   * @param {HTMLElement} tile
   */
  show(tile) {
    const { strip } = this;
    const left = tile.offsetLeft - strip.offsetLeft;
    const room = strip.clientWidth - tile.offsetWidth;
    if (left < strip.scrollLeft || left > strip.scrollLeft + room) strip.scrollLeft = left - room / 2;
  }

  tell() {
    const fact = this.facts[this.looked ?? this.model.get("value")];
    say(this.words, fact ? wordsOf(fact) : "");
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("./strip.js").Images} images
 * @param {number} number
 */
function drawImage(canvas, images, number) {
  canvas.width = images.width;
  canvas.height = images.height;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.putImageData(new ImageData(pixelsOf(images, number), images.width), 0, 0);
}

/** @param {{model: Model, el: HTMLElement}} given */
function render({ model, el }) {
  const strip = new Strip(model, el);
  const sizes = new ResizeObserver(() => strip.showPicked()); // a strip has no size before it is on the page
  sizes.observe(strip.strip);
  return () => {
    sizes.disconnect();
    strip.forget?.();
  };
}

export default { render };
