/** A network on the page: its panel, what is known of it, and what it says of a place. */

import { KINDS } from "../engine/kinds.js";
import { element, say } from "./elements.js";
import { Panel } from "./panel.js";
import { rounded, roundedDown, roundedUp } from "./numbers.js";

/** @typedef {import("../engine/kinds.js").Kind} Kind */
/** @typedef {import("../engine/playground.js").View} View */
/** @typedef {import("../engine/playground.js").Reading} Reading */

const TITLES = { ordinary: "Ordinary network", constrained: "Constrained network" };
const FACTS = /** @type {const} */ ([
  ["right", "right", "Points on the right side of the boundary"],
  ["smallest", "smallest radius", "Smallest certified radius; 0 where a point is on the wrong side"],
  ["mean", "mean radius", "Mean certified radius; 0 for points on the wrong side"],
  ["bound", "Lipschitz ≤", "No two inputs differ in score by more than this times their distance"],
  ["loss", "loss", "Mean loss of the points"],
]);

export class Figure {
  /** @param {Kind} kind */
  constructor(kind) {
    this.kind = kind;
    this.canvas = element("canvas", {
      tabindex: 0,
      role: "application",
      "aria-label": `${TITLES[kind]}: scores, boundary, points and their certified discs`,
      "aria-describedby": "keys",
    });
    this.values = FACTS.map(([name]) => element("dd", { "data-fact": name }));
    const facts = FACTS.map(([, label, help], i) =>
      element("div", { title: help }, element("dt", {}, label), this.values[i]),
    );
    this.reading = element("p", { class: "reading" });
    this.root = element(
      "section",
      { class: "figure", "data-kind": kind, "aria-label": TITLES[kind] },
      element("h2", {}, TITLES[kind]),
      this.canvas,
      this.reading,
      element("dl", {}, ...facts),
    );
    this.panel = new Panel(this.canvas);
  }

  /**
   * Says what is known of the network.
   *
   * @param {View} view
   */
  tell(view) {
    factsOf(view).forEach((text, i) => say(this.values[i], text));
  }

  /**
   * Says what the network says of a place.
   *
   * @param {Reading | null} reading
   */
  read(reading) {
    say(
      this.reading,
      reading === null ? "Point at a place, or choose a point, to read its score and radius." : words(reading),
    );
  }
}

/** @returns {Figure[]} */
export function figures() {
  return KINDS.map((kind) => new Figure(kind));
}

/**
 * @param {View} view
 * @returns {string[]}
 */
function factsOf({ right, radii, certificate, loss }) {
  const count = right.filter(Boolean).length;
  const certified = Array.from(radii, (radius, i) => (right[i] ? radius : 0));
  const smallest = certified.length ? Math.min(...certified) : 0;
  const mean = certified.reduce((sum, radius) => sum + radius, 0) / (certified.length || 1);
  return [
    `${count} of ${right.length}`,
    roundedDown(smallest),
    roundedDown(mean),
    roundedUp(certificate.constant),
    rounded(loss, 4),
  ];
}

/** @param {Reading} reading */
function words({ score, radius, move }) {
  const attack = move === null ? "no attack found" : `the attacker needs ${move.length.toFixed(3)}`;
  return `Score ${rounded(score)}: it says ${score > 0 ? "square" : "circle"}. Certified radius ${roundedDown(radius)}; ${attack}.`;
}
