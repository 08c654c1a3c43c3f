/**
 * The playground as a part of a page: `mount(element)` fills an element with it.
 *
 * It needs no server, and asks no other host for anything.
 */

import { pythonCode } from "./engine/code.js";
import { CHALLENGES } from "./engine/challenges.js";
import { Playground, SIDE } from "./engine/playground.js";
import { SETTINGS } from "./engine/settings.js";
import { Controls } from "./page/controls.js";
import { described, KEYS, makeEditable } from "./page/editing.js";
import { button, checkbox, element, say } from "./page/elements.js";
import { figures } from "./page/figure.js";
import { NeuronPictures } from "./page/neurons.js";
import { pointsBar } from "./page/points_bar.js";
import { THEMES } from "./page/panel.js";
import { embedding, Sharing } from "./page/sharing.js";

/** @typedef {import("./engine/settings.js").Settings} Settings */
/** @typedef {import("./page/editing.js").Tool} Tool */

const SPEEDS = [1, 2, 5, 10, 20];
const BUDGET = 12; // milliseconds of a frame for steps of training
const NEURONS_EVERY = 200; // milliseconds between pictures of the neurons of one network and of the other, while training
// Pixels of a page that has room for them from the start; one in a frame that is less high would get a scroll bar.
const [WIDE, TALL] = [600, 1000];
const SLOW = 28; // milliseconds of a frame above which the grid gets coarser while training

/**
 * @typedef {object} Options
 * @property {string} [address] The part of an address behind #.
 * @property {(address: string) => void} [onAddress] Called with the new address where settings or points have changed.
 */

/**
 * Fills an element with a playground.
 *
 * @param {HTMLElement} root
 * @param {Options} [options]
 * @returns {Page}
 */
export function mount(root, options = {}) {
  return new Page(root, options);
}

export class Page {
  /** @type {Tool} */
  tool = "move";
  speed = 2;
  isPlaying = false;
  isDrawing = false;
  frames = 0;
  discs = true;
  /** @type {{x: number, y: number} | null} */
  hovered = null;
  wasDone = false;
  neuronsDrawn = 0; // when, in milliseconds
  turn = 0;

  /**
   * @param {HTMLElement} root
   * @param {Options} options
   */
  constructor(root, options) {
    this.root = root;
    this.onAddress = options.onAddress ?? (() => {});
    this.playground = new Playground(options.address);
    this.figures = figures();
    const isTall = window.parent === window || window.innerHeight >= TALL;
    const hasRoom = root.clientWidth >= WIDE && isTall;
    this.neurons = this.figures.map(({ kind }) => new NeuronPictures(kind, hasRoom, this));
    this.sharing = new Sharing();
    this.controls = new Controls((name, value) => this.set(name, value));
    this.build();
    this.figures.forEach(({ panel, root }, i) => {
      makeEditable(panel, this);
      root.append(this.neurons[i].root);
    });
    new ResizeObserver(() => this.changed()).observe(this.figures[0].canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.changed());
    this.showAll();
  }

  // --- what is there ---

  build() {
    this.problems = element("p", { class: "problems", role: "alert" });
    this.live = element("p", { class: "unseen", role: "status" });
    this.root.classList.add("lipviz-playground", "lipviz-colours");
    const frame = element(
      "div",
      { class: "frame" },
      this.toolbar(),
      pointsBar(this),
      this.problems,
      element("div", { class: "figures" }, ...this.figures.map(({ root }) => root)),
      this.side(),
      this.live,
    );
    this.root.replaceChildren(frame, this.sharing.dialog);
  }

  toolbar() {
    this.playButton = button("▶ Play", "Train, or pause", () => this.play(!this.isPlaying));
    this.playButton.className = "main";
    this.stepsSaid = element("output", { class: "steps" });
    return element(
      "div",
      { class: "toolbar", role: "group", "aria-label": "Training" },
      this.playButton,
      button("Step", "Take one step of training", () => this.takeStep()),
      button("Restart", "Draw both networks anew", () => this.restart()),
      this.speedMenu(),
      this.stepsSaid,
    );
  }

  speedMenu() {
    const select = element(
      "select",
      { "aria-label": "speed" },
      ...SPEEDS.map((n) => element("option", { value: n }, `${n}×`)),
    );
    select.selectedIndex = SPEEDS.indexOf(this.speed);
    select.addEventListener("change", () => void (this.speed = SPEEDS[select.selectedIndex]));
    return element("label", { title: "Steps of training between two pictures" }, element("span", {}, "speed "), select);
  }

  side() {
    const show = element(
      "div",
      { class: "legend" },
      checkbox("◯ certified discs", "No move inside of a disc changes the decision of its point", (checked) => {
        this.discs = checked;
        this.changed();
      }),
      element("span", {}, "● ■ two classes"),
      checkbox("— attacker's steps", "The shortest move that an attacker finds for each point", (checked) => {
        this.playground.wantsMoves = checked;
        this.playground.forget();
        this.changed();
      }),
      element("span", {}, "✕ decided wrongly"),
    );
    const share = element(
      "div",
      { class: "row" },
      button("Copy as code", "Python code that trains what is seen", () => this.shareCode()),
      button("Link", "The address of what is seen", () => this.shareLink()),
      button("Embed", "A line of HTML for a page of your own", () => this.shareEmbedding()),
    );
    const keys = element("details", {}, element("summary", {}, "Keys"), element("p", { id: "keys" }, KEYS));
    return element("div", { class: "side" }, this.challengeBox(), show, this.controls.root, share, keys);
  }

  challengeBox() {
    const titles = ["No challenge", ...Object.values(CHALLENGES).map(({ name }) => name)];
    const options = SETTINGS.challenge.values.map((value, i) => element("option", { value }, titles[i]));
    this.challengeMenu = element("select", { "aria-label": "challenge" }, ...options);
    const menu = this.challengeMenu;
    menu.addEventListener("change", () => this.set("challenge", SETTINGS.challenge.values[menu.selectedIndex]));
    this.title = element("h2");
    this.task = element("p");
    this.verdict = element("p", { class: "verdict" });
    return element("div", { class: "challenge" }, menu, this.title, this.task, this.verdict);
  }

  // --- what users do ---

  /**
   * @param {keyof Settings} name
   * @param {string | number} value
   */
  set(name, value) {
    this.playground.problems = [];
    this.playground.set(name, value);
    if (name === "challenge") this.play(false);
    this.showAll();
    this.settled();
  }

  /** @param {boolean} on */
  play(on) {
    this.isPlaying = on;
    if (on && this.problems) say(this.problems, "");
    if (!on) this.fineGrid();
    if (this.playButton) say(this.playButton, on ? "❚❚ Pause" : "▶ Play");
    this.changed();
  }

  takeStep() {
    this.play(false);
    this.playground.step();
    this.changed();
  }

  restart() {
    this.playground.restart();
    this.changed();
  }

  /** @param {() => void} act */
  edit(act) {
    this.playground.problems = [];
    act();
    this.showAll();
    this.settled();
  }

  shareCode() {
    const { settings, points, steps } = this.playground;
    if (points.length) this.sharing.show("Code that trains what is seen", pythonCode(settings, points, steps));
    else this.announce("There are no points to train on.");
  }

  shareLink() {
    this.sharing.show("The address of what is seen", this.link);
  }

  shareEmbedding() {
    this.sharing.show("One line for a page of your own", embedding(this.link));
  }

  get link() {
    const { address } = this.playground;
    return window.location.href.split("#")[0] + (address && `#${address}`);
  }

  /**
   * Opens an address.
   *
   * @param {string} address
   */
  open(address) {
    this.playground.open(address);
    this.play(false);
    this.showAll();
  }

  // --- what `makeEditable` calls ---

  /** @param {{x: number, y: number} | null} place */
  hover(place) {
    this.hovered = place;
  }

  /** @param {string} words */
  announce(words) {
    if (this.live) say(this.live, words);
  }

  /** Says what is known of the chosen point. */
  describe() {
    this.announce(described(this.playground));
  }

  /** Draws in the next frame. */
  changed() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => this.frame());
  }

  settled() {
    this.controls.show(this.playground.settings);
    this.onAddress(this.playground.address);
  }

  // --- pictures ---

  /** Shows settings, challenge and problems, and draws. */
  showAll() {
    const { settings, problems } = this.playground;
    this.controls.show(settings);
    if (this.problems) say(this.problems, problems.join(" "));
    this.showChallenge();
    this.changed();
  }

  showChallenge() {
    const { challenge } = this.playground.settings;
    if (!this.challengeMenu || !this.title || !this.task) return;
    this.challengeMenu.selectedIndex = SETTINGS.challenge.values.indexOf(challenge);
    const known = CHALLENGES[/** @type {keyof typeof CHALLENGES} */ (challenge)];
    say(this.title, known?.title ?? "");
    say(this.task, known?.task ?? "Play with points and settings, or take one of three challenges.");
    this.wasDone = false;
  }

  frame() {
    this.isDrawing = false;
    const began = performance.now();
    if (this.isPlaying) this.train(began);
    this.draw();
    this.frames += 1;
    if (!this.isPlaying) return;
    this.fitGrid(performance.now() - began);
    this.changed();
  }

  /** @param {number} began */
  train(began) {
    for (let step = 0; step < this.speed; step++) {
      if (!this.playground.step()) return this.stop();
      if (performance.now() - began > BUDGET) return;
    }
  }

  stop() {
    const isEmpty = !this.playground.points.length;
    const words = isEmpty ? "There are no points to train on: add some." : "Training diverged: press Restart.";
    if (this.problems) say(this.problems, words);
    this.play(false);
  }

  /**
   * A grid that this machine can compute in time while training.
   *
   * @param {number} took Milliseconds of the last frame.
   */
  fitGrid(took) {
    const { playground } = this;
    if (took > SLOW && playground.side > 24) playground.side -= 4;
    else if (took < SLOW / 2 && playground.side < SIDE) playground.side += 2;
  }

  /** The finest grid, for a picture that stays. */
  fineGrid() {
    const { playground } = this;
    if (playground.side === SIDE) return;
    playground.side = SIDE;
    playground.forget();
  }

  draw() {
    const { playground } = this;
    const view = playground.view();
    const { chosen, points } = playground;
    const place = this.hovered ?? (chosen === null ? null : points[chosen]);
    this.figures.forEach((figure, i) => {
      const { kind } = figure;
      const reading = place === null ? null : playground.reading(kind, place);
      const neuron = this.neurons[i].chosen;
      const drawn = neuron === null ? view[kind] : playground.viewOfNeuron(kind, neuron);
      const about = { view: drawn, points, chosen, reading, hovered: place };
      const shown = { discs: this.discs && !neuron, moves: playground.wantsMoves && !neuron, fine: !this.isPlaying };
      figure.panel.draw({ ...about, ...shown, theme: theme() });
      figure.tell(view[kind], theme().ink);
      figure.read(reading);
    });
    this.drawNeurons();
    if (this.stepsSaid) say(this.stepsSaid, `${playground.steps} steps`);
    this.judge();
  }

  /** Draws the neurons, where they are shown; while training those of one network at a time, a few times a second. */
  drawNeurons() {
    const now = performance.now();
    if (this.isPlaying && now - this.neuronsDrawn < NEURONS_EVERY) return;
    this.neuronsDrawn = now;
    this.turn += 1;
    this.figures.forEach(({ kind }, i) => {
      const isDue = !this.isPlaying || this.turn % this.figures.length === i;
      if (isDue && this.neurons[i].isOpen) this.neurons[i].draw(this.playground.neurons(kind), theme());
    });
  }

  /** Shows at once that another neuron is looked at. */
  lookAtNeurons() {
    for (const one of this.neurons) if (one.known && one.isOpen) one.draw(one.known, theme());
    this.changed();
  }

  /** Shows what the challenge says, and announces when it is done. */
  judge() {
    const verdict = this.playground.verdict();
    if (!this.verdict) return;
    say(this.verdict, verdict === null ? "" : (verdict.done ? "✓ Done. " : "") + verdict.words);
    this.verdict.classList.toggle("done", verdict?.done ?? false);
    if (verdict?.done && !this.wasDone) this.announce(`Challenge done. ${verdict.words}`);
    this.wasDone = verdict?.done ?? false;
  }
}

function theme() {
  const chosen = document.documentElement.dataset.theme;
  const isDark = chosen ? chosen === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  return THEMES[isDark ? "dark" : "light"];
}
