/** Networks that the tests share: kernels of many kinds, ordinary ones and degenerate ones. */

import { fromRows, mapped, zeros } from "../../lipviz/playground/engine/matrix.js";
import { makeNetwork } from "../../lipviz/playground/engine/network.js";
import { Random } from "../../lipviz/playground/engine/random.js";

/** Changes of the kernels of a network that is drawn. */
export const KINDS = {
  drawn: (kernel) => kernel,
  gaussian: (kernel, random) => mapped(kernel, () => random.normal()),
  large: (kernel, random) => mapped(kernel, () => 1e6 * random.normal()),
  ill: (kernel, random) => mapped(kernel, (_, i) => random.normal() * 10 ** (-6 * ((i % kernel.cols) / kernel.cols))),
  rankOne: (kernel) => mapped(kernel, (_, i) => Math.cos(Math.floor(i / kernel.cols)) * ((i % kernel.cols) + 1)),
  ones: (kernel) => mapped(kernel, () => 1),
  zero: (kernel) => zeros(kernel.rows, kernel.cols),
};

/**
 * A network and samples for it.
 *
 * @param {object} settings As `NetworkSettings`, with `kind`, a key of KINDS, and `seed`.
 */
export function drawnCase({ kind, seed, ...settings }) {
  const random = new Random(seed + 1000);
  const network = makeNetwork(settings, seed);
  for (const layer of network.layers) layer.kernel.data.set(KINDS[kind](layer.kernel, random).data);
  const x = fromRows(Array.from({ length: 12 }, () => [2 * random.normal(), 2 * random.normal()]));
  const labels = Array.from({ length: 12 }, (_, i) => (i % 3 === 0 ? 1 : 0));
  return { network, x, labels };
}
