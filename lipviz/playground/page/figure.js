/** A network on the page: its panel, what is known of it, and what it says of a place. */

import { KINDS } from "../engine/kinds.js";
import { Curve } from "./curve.js";
import { element, say } from "./elements.js";
import { Panel } from "./panel.js";
import { percent, rounded, roundedDown, roundedUp } from "./numbers.js";

/** @typedef {import("../engine/kinds.js").Kind} Kind */
/** @typedef {import("../engine/playground.js").View} View */
/** @typedef {import("../engine/playground.js").Reading} Reading */

const TITLES = { ordinary: "Ordinary network", constrained: "Constrained network" };
const FACTS = /** @type {const} */ ([
  ["right", "correct", "Points on the correct side of the boundary"],
  ["unseen", "unseen correct", "The same, for 200 points of this kind that neither network learns from"],
  ["smallest", "smallest radius", "Smallest certified radius; 0 where a point is on the wrong side"],
  ["mean", "mean radius", "Mean certified radius; 0 for points on the wrong side"],
  ["bound", "Lipschitz ≤", "No two inputs differ in score by more than this times their distance"],
  ["loss", "loss", "Mean loss of the points; the curve shows it since the first step"],
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
    this.curve = new Curve();
    const facts = FACTS.map(([name, label, help], i) => {
      const curve = name === "loss" ? [element("dd", { class: "drawn" }, this.curve.canvas)] : [];
      return element("div", { title: help }, element("dt", {}, label), ...curve, this.values[i]);
    });
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
   * @param {string} colour Colour of the curve.
   */
  tell(view, colour) {
    factsOf(view).forEach((text, i) => say(this.values[i], text));
    this.curve.draw(view.losses, colour);
  }

  /**
   * Says what the network says of a place.
   *
   * @param {Reading | null} reading
   */
  read(reading) {
    say(
      this.reading,
      reading === null ? "Drag a point, or point at a place to read its score and radius." : words(reading),
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
function factsOf({ right, radii, certificate, loss, unseen }) {
  const count = right.filter(Boolean).length;
  const certified = Array.from(radii, (radius, i) => (right[i] ? radius : 0));
  const smallest = certified.length ? Math.min(...certified) : 0;
  const mean = certified.reduce((sum, radius) => sum + radius, 0) / (certified.length || 1);
  return [
    `${count} of ${right.length}`,
    percent(unseen),
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
