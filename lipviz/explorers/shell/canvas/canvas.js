/**
 * The canvas of an explorer: two networks on the same points, which are edited here and judged by the kernel.
 *
 * The page keeps the points, so that they follow the hand at once. It tells the kernel where they are, a few times ahead
 * of the answers; of what must wait only the newest is told. An answer says which points it is about: discs stand where
 * their points were, so that each is certified at any time.
 *
 * @typedef {import("../../../playground/engine/kinds.js").Kind} Kind
 * @typedef {import("../../../playground/engine/playground.js").View} View
 * @typedef {import("../../../playground/engine/playground.js").Reading} Reading
 * @typedef {import("../../../playground/page/editing.js").Tool} Tool
 * @typedef {import("./answers.js").Answer} Answer
 *
 * @typedef {object} Model What anywidget gives.
 * @property {(name: string) => any} get
 * @property {(names: string, act: (message?: any) => void) => void} on
 * @property {(names: string, act: (message?: any) => void) => void} off
 * @property {(content: object) => void} send
 */

import { EditedPoints } from "../../../playground/engine/edited.js";
import { described, KEYS, makeEditable } from "../../../playground/page/editing.js";
import { button, element, say } from "../../../playground/page/elements.js";
import { figures } from "../../../playground/page/figure.js";
import { THEMES } from "../../../playground/page/panel.js";
import { pointsBar } from "../../../playground/page/points_bar.js";
import { answerOf, pointsOf } from "./answers.js";

const AHEAD = 2; // messages that may be on their way without an answer
const MOST_BYTES = 1e6; // of a file; the kernel says that a larger one is too large
const ATTRIBUTES = ["data-jp-theme-light", "data-theme", "class"]; // by which pages change their theme

let made = 0;

class Canvas {
  /** @type {Tool} */
  tool = "move";
  id = Math.random().toString(36).slice(2); // the kernel answers each page by its name
  sent = 0;
  answered = 0;
  isDrawing = false;
  mustTell = false;
  mustDescribe = false;
  wasDone = false;
  /** @type {Answer | null} */
  answer = null;
  /** @type {{x: number, y: number} | null} */
  hovered = null;
  frames = 0;

  /**
   * @param {Model} model
   * @param {HTMLElement} root
   */
  constructor(model, root) {
    this.model = model;
    this.root = root;
    this.playground = new EditedPoints();
    this.figures = figures();
    this.build();
    this.figures.forEach(({ panel }) => makeEditable(panel, this));
    this.settledPoints = this.playground.points;
    this.toldPoints = this.playground.points;
    this.follow();
    this.takePoints();
    this.takeAnswer();
  }

  build() {
    const keys = `lipviz-keys-${made++}`;
    for (const { canvas } of this.figures) {
      canvas.setAttribute("aria-describedby", keys);
      canvas.dataset.lmSuppressShortcuts = "true"; // else A, B and arrow keys would edit the cells of a notebook
    }
    this.live = element("p", { class: "unseen", role: "status" });
    this.root.classList.add("lipviz-canvas", "lipviz-playground", "lipviz-colours");
    this.root.replaceChildren(
      pointsBar(this, ...this.fileButton(), this.challengeMenu()),
      element("div", { class: "figures" }, ...this.figures.map(({ root }) => root)),
      element("p", { id: keys, class: "unseen" }, KEYS),
      this.live,
    );
  }

  /** A button that opens a file, and the input behind it, which browsers need. */
  fileButton() {
    const input = element("input", { type: "file", accept: ".csv,.txt,text/csv", hidden: true });
    input.addEventListener("change", () => void this.readFile(input));
    const help = "Points from a file on this computer: two columns of numbers and one of labels";
    return [button("Open CSV", help, () => input.click()), input];
  }

  challengeMenu() {
    /** @type {[string, string][]} */
    const challenges = this.model.get("challenges");
    const options = challenges.map(([value, text]) => element("option", { value }, text));
    const menu = element("select", { "aria-label": "challenge", title: "A task with a goal, which is checked" }, ...options);
    menu.addEventListener("change", () => this.model.send({ kind: "challenge", name: menu.value }));
    this.menu = menu;
    return menu;
  }

  /** @param {HTMLInputElement} input */
  async readFile(input) {
    const file = input.files?.[0];
    if (!file) return;
    const text = file.size > MOST_BYTES ? null : await file.text();
    input.value = "";
    this.model.send({ kind: "file", name: file.name, size: file.size, text });
  }

  /** Follows the kernel, the size of the page and its theme, until `forget` is called. */
  follow() {
    const { model } = this;
    const takePoints = () => this.takePoints();
    const takeAnswer = () => this.takeAnswer();
    model.on("change:points", takePoints);
    model.on("change:answer", takeAnswer);
    const sizes = new ResizeObserver(() => this.draw());
    sizes.observe(this.figures[0].canvas);
    const themes = new MutationObserver(() => this.draw());
    for (const target of [document.documentElement, document.body]) {
      themes.observe(target, { attributeFilter: ATTRIBUTES });
    }
    this.forget = () => {
      model.off("change:points", takePoints);
      model.off("change:answer", takeAnswer);
      sizes.disconnect();
      themes.disconnect();
    };
  }

  // --- what the kernel says ---

  /** Takes points that come from elsewhere, which are those to go back to. */
  takePoints() {
    const { playground } = this;
    const { places, author } = this.model.get("points");
    if (author === this.id) return;
    const points = pointsOf(places);
    Object.assign(playground, { points, given: points, undone: [], most: this.model.get("most") });
    this.settledPoints = this.toldPoints = points;
    this.hovered = null;
    playground.choose(null);
    this.draw();
  }

  takeAnswer() {
    const sent = this.model.get("answer");
    if (!sent.networks) return;
    this.answer = answerOf(sent);
    this.answered = sent.answered[this.id] ?? this.answered;
    this.showChallenge(sent);
    this.tell();
    this.draw();
  }

  /** @param {{challenge: string, done: string | null}} sent The words of a challenge that is done. */
  showChallenge({ challenge, done }) {
    if (this.menu && this.menu.value !== challenge) this.menu.value = challenge;
    if (done !== null && !this.wasDone) this.announce(`Challenge done. ${done}`);
    this.wasDone = done !== null;
  }

  /** Tells the kernel what is new here, unless too much is on its way. */
  tell() {
    if (!this.mustTell || this.sent - this.answered >= AHEAD) return;
    const { points, given, chosen } = this.playground;
    const place = this.hovered ?? (chosen === null ? null : points[chosen]);
    const moved = this.playground.moved();
    this.mustTell = false;
    this.model.send({
      kind: "look",
      page: this.id,
      number: ++this.sent,
      version: this.model.get("points").version,
      points: points === this.toldPoints ? null : points.map(({ x, y, label }) => [x, y, label]),
      given: points === given,
      settled: points === this.settledPoints,
      place: place === null ? null : [place.x, place.y],
      moved: moved && [moved.from.x, moved.from.y, moved.to.x, moved.to.y, moved.to.label],
    });
    this.toldPoints = points;
  }

  // --- what `makeEditable` and the buttons call ---

  /** @param {{x: number, y: number} | null} place */
  hover(place) {
    this.hovered = place;
  }

  /** @param {string} words */
  announce(words) {
    this.mustDescribe = false;
    if (this.live) say(this.live, words);
  }

  /** Says what is known of the chosen point, when the kernel has answered. */
  describe() {
    this.mustDescribe = true;
    this.changed();
  }

  /** Tells the kernel, and draws in the next frame. */
  changed() {
    this.mustTell = true;
    this.tell();
    this.draw();
  }

  settled() {
    this.settledPoints = this.playground.points;
    this.changed();
  }

  /** @param {() => void} act */
  edit(act) {
    act();
    this.settled();
  }

  // --- pictures ---

  draw() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => this.frame());
  }

  frame() {
    this.isDrawing = false;
    const { answer, playground } = this;
    if (!answer || !this.figures[0].canvas.isConnected) return;
    const { points, chosen } = playground;
    const { discs, moves, place, readings } = answer;
    const isDark = darkTheme();
    this.root.style.colorScheme = isDark ? "dark" : "light";
    const colours = THEMES[isDark ? "dark" : "light"];
    const shown = { points, chosen, hovered: place, discs, moves, fine: true, theme: colours };
    this.figures.forEach((figure, i) => {
      const view = answer.views[figure.kind];
      const reading = readings?.[i] ?? null;
      figure.panel.draw({ ...shown, view, reading });
      figure.tell(view, colours.ink);
      figure.read(reading);
    });
    this.frames += 1;
    this.root.dataset.frame = String(this.frames);
    if (this.mustDescribe && !this.mustTell && this.answered === this.sent) this.announce(described(this));
  }

  /** The points, and what the kernel said of them, as `described` takes them. */
  get chosen() {
    return this.playground.chosen;
  }

  get points() {
    return this.playground.points;
  }

  view() {
    return /** @type {Answer} */ (this.answer).views;
  }
}

/** Whether the theme of JupyterLab is dark, or that of a page that says it, or that of the system. */
function darkTheme() {
  const { jpThemeLight } = document.body.dataset;
  const chosen = document.documentElement.dataset.theme;
  return jpThemeLight ? jpThemeLight === "false" : chosen ? chosen === "dark" : systemIsDark();
}

function systemIsDark() {
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

/** @param {{model: Model, el: HTMLElement}} given */
function render({ model, el }) {
  const canvas = new Canvas(model, el.appendChild(element("div")));
  return () => canvas.forget?.();
}

export default { render };
