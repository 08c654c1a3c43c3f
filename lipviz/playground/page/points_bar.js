/**
 * The buttons for points: what a click does, and the steps back.
 *
 * @typedef {import("./editing.js").Tool} Tool
 *
 * @typedef {object} Owner What the buttons belong to.
 * @property {import("../engine/edited.js").EditedPoints} playground
 * @property {Tool} tool
 * @property {(act: () => void) => void} edit Changes points, and shows them.
 */

import { button, element } from "./elements.js";

/** @type {[Tool, string, string][]} */
const TOOLS = [
  ["move", "move", "Drag points"],
  ["add0", "add ●", "Click to add a circle, or draw many"],
  ["add1", "add ■", "Click to add a square, or draw many"],
  ["erase", "erase", "Click on points, or wipe over them"],
];
let made = 0; // the radio buttons of each bar are a group of their own

/**
 * A bar of buttons.
 *
 * @param {Owner} owner
 * @param {...HTMLElement} others Further buttons.
 */
export function pointsBar(owner, ...others) {
  const { playground } = owner;
  return element(
    "div",
    { class: "points", role: "group", "aria-label": "Points" },
    toolMenu(owner),
    button("Undo", "Take back the last change of points", () => owner.edit(() => playground.undo())),
    button("Clear", "Erase all points", () => owner.edit(() => playground.clearPoints())),
    button("Reset points", "Bring back the points of the start", () => owner.edit(() => playground.resetPoints())),
    ...others,
  );
}

/** @param {Owner} owner */
function toolMenu(owner) {
  const name = `lipviz-tool-${made++}`;
  const buttons = TOOLS.map(([tool, label, help]) => toolButton(owner, name, tool, label, help));
  return element("span", { class: "tools", role: "radiogroup", "aria-label": "What a click does" }, ...buttons);
}

/**
 * @param {Owner} owner
 * @param {string} name
 * @param {Tool} tool
 * @param {string} label
 * @param {string} help
 */
function toolButton(owner, name, tool, label, help) {
  const input = element("input", { type: "radio", name, value: tool, checked: tool === owner.tool });
  input.addEventListener("change", () => void (owner.tool = tool));
  return element("label", { title: help }, input, element("span", {}, label));
}
