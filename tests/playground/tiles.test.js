import assert from "node:assert/strict";
import { test } from "node:test";

import { factsOf, imagesOf, isWrong, pixelsOf, placeAfter, shareOf, wordsOf } from "../../lipviz/explorers/shell/canvas/strip.js";
import { bytes } from "./bytes.js";

const SENT = {
  order: bytes(Int32Array, [2, 0, 1]),
  predicted: bytes(Int32Array, [7, 3, 1]),
  radii: bytes(Float64Array, [0.5009, Infinity, 0.25]),
  labels: bytes(Int32Array, [7, 9, 1]),
};

test("each place has the facts of its image, in words", () => {
  const facts = factsOf(SENT);
  assert.deepEqual(facts[0], { number: 2, predicted: 1, radius: 0.25, label: 1 });
  assert.deepEqual(facts.map(wordsOf), [
    "Image 2: true class 1, predicted class 1, certified radius 0.250",
    "Image 0: true class 7, predicted class 7, certified radius 0.500",
    "Image 1: true class 9, predicted class 3, which is wrong, certified radius ∞",
  ]);
  assert.deepEqual(facts.map(isWrong), [false, false, true]);
  assert.deepEqual(
    facts.map((fact) => shareOf(fact, facts)),
    [0.25 / 0.5009, 1, 1],
  );
});

test("without labels nothing is wrong, and before all is known there is nothing", () => {
  const facts = factsOf({ ...SENT, labels: null });
  assert.equal(wordsOf(facts[2]), "Image 1: predicted class 3, certified radius ∞");
  assert.deepEqual(facts.map(isWrong), [false, false, false]);
  assert.deepEqual([factsOf({}), imagesOf({})], [[], null]);
  assert.equal(shareOf({ number: 0, predicted: 0, radius: 0, label: null }, []), 0);
});

test("pixels of one channel are grey, those of three have their colours", () => {
  const grey = imagesOf({ shape: [2, 1, 2, 1], pixels: bytes(Uint8Array, [1, 2, 3, 4]) });
  assert.deepEqual([...pixelsOf(grey, 1)], [3, 3, 3, 255, 4, 4, 4, 255]);
  const coloured = imagesOf({ shape: [2, 1, 1, 3], pixels: bytes(Uint8Array, [1, 2, 3, 4, 5, 6]) });
  assert.deepEqual([...pixelsOf(coloured, 1)], [4, 5, 6, 255]);
});

test("keys lead along the strip, and not beyond its ends", () => {
  const after = (key, place) => placeAfter(key, place, 20);
  assert.deepEqual([after("ArrowRight", 3), after("ArrowDown", 3), after("ArrowLeft", 3), after("ArrowUp", 0)], [4, 4, 2, 0]);
  assert.deepEqual([after("PageDown", 3), after("PageDown", 13), after("Home", 9), after("End", 9)], [13, 20, 0, 20]);
  assert.deepEqual([after("a", 3), after("Tab", 3)], [null, null]);
});
