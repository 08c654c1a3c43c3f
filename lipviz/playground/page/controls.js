/**
 * Controls of the settings: a menu for names, a slider for numbers.
 *
 * @typedef {import("../engine/settings.js").Settings} Settings
 * @typedef {keyof Settings} Name
 */

import { SETTINGS } from "../engine/settings.js";
import { element, say } from "./elements.js";

/** @type {[string, Name[]][]} The groups in which controls are shown. */
export const GROUPS = [
  ["Points", ["data", "noise", "seed"]],
  ["Networks", ["activation", "depth", "width", "k"]],
  ["Training", ["loss", "tau", "margin", "rate", "decay"]],
];

export class Controls {
  /**
   * @param {(name: Name, value: string | number) => void} changed Called where a user changes a setting.
   */
  constructor(changed) {
    this.changed = changed;
    /** @type {Map<Name, {row: HTMLElement, show: (value: string | number) => void}>} */
    this.controls = new Map();
    this.root = element("div", { class: "controls" }, ...GROUPS.map(([title, names]) => this.group(title, names)));
  }

  /**
   * @param {string} title
   * @param {Name[]} names
   */
  group(title, names) {
    return element("fieldset", {}, element("legend", {}, title), ...names.map((name) => this.control(name)));
  }

  /** @param {Name} name */
  control(name) {
    const made = SETTINGS[name].titles ? this.menu(name) : this.slider(name);
    this.controls.set(name, made);
    return made.row;
  }

  /** @param {Name} name */
  menu(name) {
    const { values, titles, label, help } = SETTINGS[name];
    const select = element(
      "select",
      { "aria-label": label },
      ...values.map((value) => element("option", { value }, titles?.[value] ?? String(value))),
    );
    select.addEventListener("change", () => this.changed(name, values[select.selectedIndex]));
    const show = (/** @type {string | number} */ value) => void (select.selectedIndex = values.indexOf(value));
    return { row: element("label", { title: help }, element("span", {}, label), select), show };
  }

  /** @param {Name} name */
  slider(name) {
    const { values, label, help } = SETTINGS[name];
    const input = element("input", { type: "range", min: 0, max: values.length - 1, step: 1, "aria-label": label });
    const output = element("output");
    const say_ = (/** @type {string | number} */ value) => {
      say(output, String(value));
      input.setAttribute("aria-valuetext", String(value));
    };
    input.addEventListener("input", () => {
      say_(values[Number(input.value)]);
      this.changed(name, values[Number(input.value)]);
    });
    const show = (/** @type {string | number} */ value) => {
      input.value = String(values.indexOf(value));
      say_(value);
    };
    return { row: element("label", { title: help }, element("span", {}, label), input, output), show };
  }

  /**
   * Shows settings, and only those that have an effect.
   *
   * @param {Settings} settings
   */
  show(settings) {
    for (const [name, { row, show }] of this.controls) {
      show(settings[name]);
      row.hidden = isWithoutEffect(name, settings);
    }
  }
}

/**
 * @param {Name} name
 * @param {Settings} settings
 */
function isWithoutEffect(name, settings) {
  if (name === "tau") return settings.loss === "hkr";
  if (name === "margin") return settings.loss !== "hkr";
  return name === "noise" && settings.data === "own";
}
