/**
 * Points are moved, added and erased on a panel: by mouse, by touch and by keyboard.
 *
 * @typedef {import("../engine/edited.js").EditedPoints} EditedPoints
 * @typedef {import("../engine/kinds.js").Kind} Kind
 * @typedef {import("./panel.js").Panel} Panel
 * @typedef {"move" | "add0" | "add1" | "erase"} Tool
 * @typedef {Pick<import("../engine/playground.js").View, "right" | "radii">} Known
 *
 * @typedef {object} Owner What a panel belongs to.
 * @property {EditedPoints} playground
 * @property {Tool} tool
 * @property {(place: {x: number, y: number} | null) => void} hover
 * @property {(words: string) => void} announce
 * @property {() => void} describe Says what is known of the chosen point, see `described`.
 * @property {() => void} changed Called after each change of points or of the choice.
 * @property {() => void} settled Called after the last change of a gesture.
 */

const REACH = { mouse: 10, pen: 14, touch: 24 }; // pixels within which a point is hit
const BETWEEN = 18; // pixels from one drawn point to the next
const STEP = 0.05;
const SMALL_STEP = 0.01;

/** What the keys do. */
export const KEYS =
  "In a picture, N and P choose the next and the previous point. Arrow keys move it, with Shift in small steps. " +
  "A adds a circle and B a square beside it, Delete erases it, U takes back the last change, Escape chooses none.";

const ARROWS = /** @type {Record<string, [number, number]>} */ ({
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
});

/**
 * Lets a panel be edited.
 *
 * @param {Panel} panel
 * @param {Owner} owner
 */
export function makeEditable(panel, owner) {
  const { canvas } = panel;
  const gesture = new Gesture(panel, owner);
  canvas.addEventListener("pointerdown", (event) => gesture.begin(event));
  canvas.addEventListener("pointermove", (event) => gesture.move(event));
  canvas.addEventListener("pointerup", () => gesture.end());
  canvas.addEventListener("pointercancel", () => gesture.end());
  canvas.addEventListener("pointerleave", (event) => gesture.leave(event));
  canvas.addEventListener("touchstart", (event) => gesture.holdPage(event), { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (pressed(event, owner)) event.preventDefault();
  });
}

class Gesture {
  /**
   * @param {Panel} panel
   * @param {Owner} owner
   */
  constructor(panel, owner) {
    this.panel = panel;
    this.owner = owner;
    this.isDown = false;
    /** @type {number | null} */
    this.dragged = null;
    /** From the pointer to the dragged point: a point does not jump when it is taken at its edge. */
    this.offset = { x: 0, y: 0 };
    /** @type {{x: number, y: number} | null} Where a point was drawn last. */
    this.drawn = null;
  }

  /**
   * The point under a pointer.
   *
   * @param {PointerEvent | Touch} event
   * @param {string} kind
   */
  hit(event, kind) {
    const { x, y } = this.panel.placeOf(event);
    const reach = REACH[/** @type {keyof typeof REACH} */ (kind)] ?? REACH.mouse;
    return this.owner.playground.pointAt(x, y, this.panel.lengthOf(reach));
  }

  /**
   * Keeps the page from scrolling under a finger that edits; one that touches no point scrolls it.
   *
   * @param {TouchEvent} event
   */
  holdPage(event) {
    const edits = this.owner.tool !== "move" || this.hit(event.changedTouches[0], "touch") !== null;
    if (edits && event.touches.length === 1) event.preventDefault();
  }

  /** @param {PointerEvent} event */
  begin(event) {
    if (event.button !== 0) return;
    const { owner, panel } = this;
    panel.canvas.focus({ preventScroll: true });
    panel.canvas.setPointerCapture(event.pointerId);
    this.isDown = true;
    owner.playground.join(true);
    const hit = this.hit(event, event.pointerType);
    if (owner.tool === "erase") this.erase(hit);
    else if (owner.tool === "move" || hit !== null) this.take(hit, panel.placeOf(event));
    else this.add(panel.placeOf(event));
    owner.hover(this.dragged === null ? panel.placeOf(event) : null);
    owner.changed();
  }

  /** @param {number | null} hit */
  erase(hit) {
    if (hit !== null) this.owner.playground.erasePoint(hit);
  }

  /**
   * @param {number | null} hit
   * @param {{x: number, y: number}} place
   */
  take(hit, place) {
    const { playground } = this.owner;
    if (playground.chosen !== hit) playground.choose(hit);
    this.dragged = hit;
    if (hit === null) return;
    const { x, y } = playground.points[hit];
    this.offset = { x: x - place.x, y: y - place.y };
  }

  /** @param {{x: number, y: number}} place */
  add(place) {
    this.drawn = place;
    if (!this.owner.playground.addPoint(place.x, place.y, this.owner.tool === "add1" ? 1 : 0)) {
      this.owner.announce("There are as many points as can be. Erase one first.");
    }
  }

  /**
   * Adds points on the way of a pointer that adds, and erases those on the way of one that erases.
   *
   * @param {PointerEvent} event
   */
  draw(event) {
    const { owner, panel, drawn } = this;
    if (owner.tool === "erase") this.erase(this.hit(event, event.pointerType));
    if (drawn === null) return;
    const place = panel.placeOf(event);
    if (Math.hypot(place.x - drawn.x, place.y - drawn.y) >= panel.lengthOf(BETWEEN)) this.add(place);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const { owner, panel, dragged } = this;
    const { x, y } = panel.placeOf(event);
    if (dragged === null) {
      if (this.isDown) this.draw(event);
      owner.hover({ x, y });
    } else {
      owner.playground.keep();
      owner.playground.movePoint(dragged, x + this.offset.x, y + this.offset.y);
    }
    owner.changed();
  }

  end() {
    this.isDown = false;
    this.dragged = null;
    this.drawn = null;
    this.owner.playground.join(false);
    this.owner.settled();
  }

  /**
   * What a finger has touched stays hovered after it has gone.
   *
   * @param {PointerEvent} event
   */
  leave(event) {
    if (this.isDown || event.pointerType === "touch") return;
    this.owner.hover(null);
    this.owner.changed();
  }
}

/**
 * Does what a key stands for.
 *
 * @param {KeyboardEvent} event
 * @param {Owner} owner
 * @returns {boolean} Whether the key stands for anything.
 */
function pressed(event, owner) {
  const { playground } = owner;
  if (event.altKey || event.metaKey || (event.ctrlKey && event.key !== "z")) return false;
  const known = event.key in ARROWS ? arrow : ACTIONS[event.ctrlKey ? "u" : event.key.toLowerCase()];
  if (known === undefined) return false;
  const words = known(playground, event);
  owner.hover(null);
  owner.changed();
  owner.settled();
  if (words === undefined) owner.describe();
  else owner.announce(words);
  return true;
}

/** @type {Record<string, (playground: EditedPoints, event: KeyboardEvent) => string | void>} */
const ACTIONS = {
  n: (playground) => step(playground, 1),
  p: (playground) => step(playground, -1),
  a: (playground) => added(playground, 0),
  b: (playground) => added(playground, 1),
  u: (playground) => (playground.undo() ? "The last change is taken back." : "There is nothing to take back."),
  escape: (playground) => playground.choose(null),
  delete: erased,
  backspace: erased,
};

/**
 * @param {EditedPoints} playground
 * @param {number} by
 */
function step(playground, by) {
  const { length } = playground.points;
  if (!length) return;
  const from = playground.chosen ?? (by > 0 ? -1 : 0);
  playground.choose((from + by + length) % length);
}

/**
 * Moves the chosen point; chooses the first where none is.
 *
 * @param {EditedPoints} playground
 * @param {KeyboardEvent} event
 */
function arrow(playground, event) {
  if (playground.chosen === null) return step(playground, 1);
  const size = event.shiftKey ? SMALL_STEP : STEP;
  const [x, y] = ARROWS[event.key];
  const point = playground.points[playground.chosen];
  playground.keep();
  playground.movePoint(playground.chosen, point.x + size * x, point.y + size * y);
}

/**
 * @param {EditedPoints} playground
 * @param {number} label
 */
function added(playground, label) {
  const beside = playground.chosen === null ? { x: 0, y: 0 } : playground.points[playground.chosen];
  if (!playground.addPoint(beside.x + 2 * STEP, beside.y, label)) {
    return "There are as many points as can be. Erase one first.";
  }
}

/** @param {EditedPoints} playground */
function erased(playground) {
  if (playground.chosen === null) return "No point is chosen.";
  playground.erasePoint(playground.chosen);
  return `Erased. ${playground.points.length} points are left.`;
}

/**
 * The chosen point in words.
 *
 * @param {Pick<EditedPoints, "chosen" | "points"> & {view: () => Record<Kind, Known>}} playground
 * @returns {string}
 */
export function described(playground) {
  const { chosen, points } = playground;
  if (chosen === null) return "No point is chosen.";
  const { x, y, label } = points[chosen];
  const view = playground.view();
  const about = (/** @type {import("../engine/playground.js").Kind} */ kind) =>
    `${kind} network ${view[kind].right[chosen] ? "right" : "wrong"}, radius ${view[kind].radii[chosen].toFixed(3)}`;
  return (
    `Point ${chosen + 1} of ${points.length}, a ${label ? "square" : "circle"} at ${x.toFixed(2)}, ${y.toFixed(2)}: ` +
    `${about("ordinary")}; ${about("constrained")}.`
  );
}
