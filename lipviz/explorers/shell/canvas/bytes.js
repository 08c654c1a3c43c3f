/** Numbers of the kernel, which come as bytes. */

/**
 * Bytes as an array of numbers; they need not begin where such a number may.
 *
 * @template T
 * @param {{new (buffer: ArrayBuffer): T}} kind
 * @param {DataView} view
 * @returns {T}
 */
export function numbers(kind, view) {
  return new kind(/** @type {ArrayBuffer} */ (view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)));
}
