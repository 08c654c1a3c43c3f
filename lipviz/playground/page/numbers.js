/** Numbers in words. */

/**
 * A number for a reader.
 *
 * @param {number} value
 * @param {number} [digits] Digits behind the point.
 * @returns {string} A dash for NaN.
 */
export function rounded(value, digits = 3) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  return value.toFixed(digits).replace("-", "−");
}

/**
 * A share in percent.
 *
 * @param {number} share
 * @returns {string} A dash for NaN.
 */
export function percent(share) {
  return Number.isNaN(share) ? "–" : `${Number((100 * share).toFixed(1))} %`;
}

/**
 * A radius, rounded down, so that what is read is certified, too.
 *
 * @param {number} radius
 * @returns {string}
 */
export function roundedDown(radius) {
  return Number.isFinite(radius) ? (Math.floor(1000 * radius) / 1000).toFixed(3) : "∞";
}

/**
 * A bound, rounded up.
 *
 * @param {number} bound
 * @returns {string}
 */
export function roundedUp(bound) {
  if (!Number.isFinite(bound)) return "∞";
  // What is certified is larger than k by roundings, which nobody wants to read.
  const thousandths = Math.ceil(1000 * bound * (1 - 1e-9));
  return bound >= 100 ? String(Math.ceil(bound)) : (thousandths / 1000).toFixed(3).replace(/\.?0+$/, "");
}
