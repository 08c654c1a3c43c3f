/**
 * Draws what is seen of a network: scores, boundary, certified discs, moves of the attacker and points.
 *
 * @typedef {import("../engine/playground.js").View} View
 * @typedef {import("../engine/points.js").Point} Point
 * @typedef {import("../engine/playground.js").Reading} Reading
 *
 * @typedef {object} Scene
 * @property {View} view
 * @property {Point[]} points
 * @property {number | null} chosen Number of the chosen point.
 * @property {{x: number, y: number} | null} hovered A place with its reading.
 * @property {Reading | null} reading
 * @property {boolean} discs Whether certified discs are drawn.
 * @property {boolean} moves Whether the attacker's moves are drawn.
 * @property {boolean} fine Whether the picture stays for a while, so that it may take longer.
 * @property {Theme} theme
 *
 * @typedef {object} Theme
 * @property {[number, number, number]} paper Colour of the score 0.
 * @property {string} ink
 * @property {string[]} classes Colours of the points of both classes.
 * @property {[number, number, number][]} fields Colours of large scores of both signs.
 */

import { EXTENT } from "../engine/points.js";

/** @type {Record<"light" | "dark", Theme>} Blue and orange of Okabe and Ito, which colour-blind readers can tell apart. */
export const THEMES = {
  light: {
    paper: [255, 255, 255],
    ink: "#1b1f24",
    classes: ["#0072b2", "#d55e00"],
    fields: [
      [120, 178, 222],
      [245, 178, 112],
    ],
  },
  dark: {
    paper: [24, 27, 32],
    ink: "#f2f4f7",
    classes: ["#56b4e9", "#ff9d3c"],
    fields: [
      [20, 92, 140],
      [158, 84, 18],
    ],
  },
};

const DOT = 5; // half the width of a point, in pixels of CSS
const SMALLEST = 60; // it is at most this part of the width of a panel

export class Panel {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.image = document.createElement("canvas");
  }

  /** Fits the number of pixels to the size on the page. */
  fit() {
    const density = Math.min(window.devicePixelRatio || 1, 2);
    const side = Math.max(1, Math.round(this.canvas.clientWidth * density));
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
  }

  /**
   * The place of the plane under a pointer.
   *
   * @param {PointerEvent | MouseEvent | Touch} event
   */
  placeOf(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return {
      x: EXTENT * ((2 * (event.clientX - left)) / width - 1),
      y: EXTENT * (1 - (2 * (event.clientY - top)) / height),
    };
  }

  /**
   * A length on the page in units of the plane.
   *
   * @param {number} pixels
   */
  lengthOf(pixels) {
    return (pixels * 2 * EXTENT) / Math.max(this.canvas.clientWidth, 1);
  }

  /** @param {Scene} scene */
  draw(scene) {
    const { context, canvas } = this;
    this.fit();
    this.scale = canvas.width / (2 * EXTENT);
    this.pixel = canvas.width / Math.max(canvas.clientWidth, 1);
    context.imageSmoothingQuality = scene.fine ? "high" : "low"; // "high" takes as long as all the rest of a frame
    drawField(context, this.image, scene.view.field, scene.theme);
    this.drawBoundary(scene);
    if (scene.discs) this.drawDiscs(scene);
    if (scene.moves) this.drawMoves(scene);
    if (scene.hovered && scene.reading) this.drawReading(scene.hovered, scene.reading, scene);
    scene.points.forEach((point, i) => this.drawPoint(point, scene, i));
  }

  /**
   * @param {number} x
   * @param {number} y
   * @returns {[number, number]} Pixels.
   */
  at(x, y) {
    return [(x + EXTENT) * (this.scale ?? 1), (EXTENT - y) * (this.scale ?? 1)];
  }

  /**
   * @param {string} colour
   * @param {number} width In pixels of CSS.
   * @param {() => void} trace
   */
  stroke(colour, width, trace) {
    const { context } = this;
    context.strokeStyle = colour;
    context.lineWidth = width * (this.pixel ?? 1);
    context.beginPath();
    trace();
    context.stroke();
  }

  /** @param {Scene} scene */
  drawBoundary({ view, theme }) {
    this.stroke(theme.ink, 1.8, () => {
      for (let i = 0; i + 1 < view.boundary.length; i += 2) {
        this.context.moveTo(...this.at(view.boundary[i].x, view.boundary[i].y));
        this.context.lineTo(...this.at(view.boundary[i + 1].x, view.boundary[i + 1].y));
      }
    });
  }

  /** @param {Scene} scene */
  drawDiscs({ view, points, theme, reading }) {
    const strength = reading === null ? 0.55 : 0.25;
    (view.places ?? points).forEach((point, i) => {
      if (view.right[i]) this.drawDisc(point, view.radii[i], theme.classes[point.label], 1, strength);
    });
  }

  /**
   * A disc of the exact radius: the middle of its line is inside of it.
   *
   * @param {{x: number, y: number}} place
   * @param {number} radius
   * @param {string} colour
   * @param {number} width Of the line, in pixels of CSS.
   * @param {number} strength From 0, unseen, to 1.
   */
  drawDisc(place, radius, colour, width, strength) {
    const { context } = this;
    const size = Math.min(radius, 8 * EXTENT) * (this.scale ?? 1) - (width * (this.pixel ?? 1)) / 2;
    if (!(size > 0)) return;
    context.fillStyle = colour;
    context.globalAlpha = 0.04;
    context.beginPath();
    context.arc(...this.at(place.x, place.y), size, 0, 2 * Math.PI);
    context.fill();
    context.globalAlpha = strength;
    this.stroke(colour, width, () => context.arc(...this.at(place.x, place.y), size, 0, 2 * Math.PI));
    context.globalAlpha = 1;
  }

  /** @param {Scene} scene */
  drawMoves({ view, points, theme }) {
    const places = view.places ?? points;
    view.moves.forEach((move, i) => {
      if (move === null || !view.right[i]) return;
      this.context.globalAlpha = 0.7 / (1 + 3 * move.length); // short ones are what matters
      this.stroke(theme.ink, 1, () => {
        this.context.moveTo(...this.at(places[i].x, places[i].y));
        this.context.lineTo(...this.at(move.x, move.y));
      });
    });
    this.context.globalAlpha = 1;
  }

  /**
   * A circle or a square; the chosen one has a frame, and one that is decided wrongly a cross.
   *
   * @param {Point} point
   * @param {Scene} scene
   * @param {number} i
   */
  drawPoint(point, { view, points, theme, chosen }, i) {
    const { context, canvas } = this;
    const [x, y] = this.at(point.x, point.y);
    const size = Math.min(DOT, canvas.clientWidth / SMALLEST) * (this.pixel ?? 1);
    context.fillStyle = theme.classes[point.label];
    this.stroke(theme.ink, 1, () => traceShape(context, point.label, x, y, size * 0.9));
    context.fill();
    context.stroke();
    const isJudged = view.right.length === points.length;
    if (isJudged && !view.right[i]) this.stroke(theme.ink, 1.6, () => traceCross(context, x, y, size * 0.7));
    if (i === chosen) this.stroke(theme.ink, 2, () => traceShape(context, 1, x, y, 2 * size));
  }

  /**
   * @param {{x: number, y: number}} place
   * @param {Reading} reading
   * @param {Scene} scene
   */
  drawReading(place, { radius, move }, { theme, points, chosen }) {
    this.drawDisc(place, radius, theme.ink, 2, 1);
    const [x, y] = this.at(place.x, place.y);
    const isPoint = chosen !== null && points[chosen] === place;
    this.stroke(theme.ink, 1.5, () => {
      if (!isPoint) tracePlus(this.context, x, y, 6 * (this.pixel ?? 1));
      if (move === null) return;
      this.context.moveTo(x, y);
      this.context.lineTo(...this.at(move.x, move.y));
    });
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} label
 * @param {number} x
 * @param {number} y
 * @param {number} size
 */
function traceShape(context, label, x, y, size) {
  if (label) context.rect(x - size * 0.9, y - size * 0.9, 1.8 * size, 1.8 * size);
  else context.arc(x, y, size, 0, 2 * Math.PI);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {number} size
 */
function traceCross(context, x, y, size) {
  context.moveTo(x - size, y - size);
  context.lineTo(x + size, y + size);
  context.moveTo(x - size, y + size);
  context.lineTo(x + size, y - size);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {number} size
 */
function tracePlus(context, x, y, size) {
  context.moveTo(x - size, y);
  context.lineTo(x + size, y);
  context.moveTo(x, y - size);
  context.lineTo(x, y + size);
}

/**
 * Scores as colours: paper where they are 0, the colour of a class where they are large for this picture.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {HTMLCanvasElement} image
 * @param {import("../engine/contour.js").Field} field
 * @param {Theme} theme
 */
function drawField(context, image, field, theme) {
  const { side } = field;
  paintFields(image, [field], theme);
  // The middles of the outer pixels lie on the edge of the picture.
  const size = context.canvas.width;
  const cell = size / (side - 1);
  context.drawImage(image, -cell / 2, -cell / 2, size + cell, size + cell);
}

/**
 * Paints fields of the same size one below the other, a pixel for each score. Each has a scale of its own.
 *
 * @param {HTMLCanvasElement} image
 * @param {import("../engine/contour.js").Field[]} fields
 * @param {Theme} theme
 */
export function paintFields(image, fields, theme) {
  const { side } = fields[0];
  const pixels = new ImageData(side, side * fields.length);
  fields.forEach(({ scores }, number) => {
    const start = 4 * side * side * number;
    const scale = 2.5 / (scores.reduce((most, score) => Math.max(most, Math.abs(score)), 0) || 1);
    scores.forEach((score, i) => colourPixel(pixels.data, start + 4 * i, Math.tanh(scale * score), theme));
  });
  image.width = pixels.width;
  image.height = pixels.height;
  /** @type {CanvasRenderingContext2D} */ (image.getContext("2d")).putImageData(pixels, 0, 0);
}

/**
 * @param {Uint8ClampedArray} data
 * @param {number} at
 * @param {number} share From −1 to 1.
 * @param {Theme} theme
 */
function colourPixel(data, at, share, { paper, fields }) {
  const far = fields[share > 0 ? 1 : 0];
  const weight = Math.abs(share) || 0;
  for (let c = 0; c < 3; c++) data[at + c] = paper[c] + weight * (far[c] - paper[c]);
  data[at + 3] = 255;
}
