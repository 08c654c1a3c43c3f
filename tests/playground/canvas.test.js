import assert from "node:assert/strict";
import { test } from "node:test";

import { answerOf, pointsOf } from "../../lipviz/explorers/shell/canvas/answers.js";
import { EditedPoints } from "../../lipviz/playground/engine/edited.js";
import { described } from "../../lipviz/playground/page/editing.js";
import { bytes } from "./bytes.js";

function network(scores, right, radii, moves) {
  return {
    scores: bytes(Float32Array, scores),
    right: bytes(Uint8Array, right),
    radii: bytes(Float64Array, radii),
    moves: bytes(Float64Array, moves),
    loss: null,
    losses: [],
    unseen: 0.5,
    constant: 2,
  };
}

const PLACES = bytes(Float64Array, [0.5, -1, 0, -0.25, 1, 1]);
const NETWORKS = {
  ordinary: network([1, 1, -1, -1], [1, 0], [0.1, 0], [0.5, 0, 1, NaN, NaN, NaN]),
  constrained: network([1, 1, 1, 1], [0, 1], [0, Infinity], new Array(6).fill(NaN)),
};
const SENT = { places: PLACES, networks: NETWORKS, discs: true, moves: false, place: null, reading: null };

test("points and what is said of them survive the way through bytes", () => {
  const points = [
    { x: 0.5, y: -1, label: 0 },
    { x: -0.25, y: 1, label: 1 },
  ];
  assert.deepEqual(pointsOf(PLACES), points);
  const { views, place, readings } = answerOf(SENT);
  assert.deepEqual([place, readings], [null, null]);
  assert.deepEqual(views.ordinary.places, points);
  assert.deepEqual(views.ordinary.right, [true, false]);
  assert.deepEqual([...views.constrained.radii], [0, Infinity]);
  assert.deepEqual(views.ordinary.moves, [{ x: 0.5, y: 0, length: 1 }, null]);
  assert.ok(Number.isNaN(views.ordinary.loss));
  // Two rows of scores, positive above and negative below: the boundary is the line between.
  assert.deepEqual(
    views.ordinary.boundary.map(({ y }) => Math.abs(y)),
    [0, 0],
  );
  assert.deepEqual(views.constrained.boundary, []);
});

test("a reading is that of a place, and what is not finite stays so", () => {
  const { place, readings } = answerOf({ ...SENT, place: [1, 2], reading: [[-0.5, 0.25, 1, 1, 1], [3, null, null, null, null]] });
  assert.deepEqual(place, { x: 1, y: 2 });
  assert.deepEqual(readings, [
    { score: -0.5, radius: 0.25, move: { x: 1, y: 1, length: 1 } },
    { score: 3, radius: Infinity, move: null },
  ]);
});

test("the chosen point is described by the last answer", () => {
  const edited = new EditedPoints();
  edited.points = pointsOf(PLACES);
  edited.choose(0);
  const { points, chosen } = edited;
  assert.equal(
    described({ points, chosen, view: () => answerOf(SENT).views }),
    "Point 1 of 2, a circle at 0.50, -1.00: ordinary network right, radius 0.100; " +
      "constrained network wrong, radius 0.000.",
  );
});

test("edits by themselves: most points, and back", () => {
  const edited = new EditedPoints();
  edited.most = 2;
  assert.ok(edited.addPoint(0.12345, 0, 1));
  assert.ok(edited.addPoint(0, 0, 0));
  assert.equal(edited.addPoint(1, 1, 0), false);
  assert.deepEqual(edited.points[0], { x: 0.123, y: 0, label: 1 });
  assert.ok(edited.undo() && edited.undo());
  assert.equal(edited.undo(), false);
  assert.deepEqual(edited.points, edited.given);
});
