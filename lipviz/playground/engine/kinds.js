/** The two networks that stand side by side. */

/** @typedef {"ordinary" | "constrained"} Kind */

/** @type {Kind[]} */
export const KINDS = ["ordinary", "constrained"];
