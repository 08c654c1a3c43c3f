import assert from "node:assert/strict";
import { test } from "node:test";

import { bestMoves, scoresAt } from "../../lipviz/playground/engine/attack.js";
import { certify, radii } from "../../lipviz/playground/engine/certificate.js";
import { CHALLENGES, FOOL_GOAL, isRight } from "../../lipviz/playground/engine/challenges.js";
import { contour } from "../../lipviz/playground/engine/contour.js";
import { field } from "../../lipviz/playground/engine/field.js";
import { History } from "../../lipviz/playground/engine/history.js";
import { matrixOf, point, toyPoints, TOYS } from "../../lipviz/playground/engine/points.js";
import { Playground, UNSEEN } from "../../lipviz/playground/engine/playground.js";
import { readAddress, SETTINGS, startSettings, writeAddress } from "../../lipviz/playground/engine/settings.js";
import { Training } from "../../lipviz/playground/engine/training.js";
import { heights } from "../../lipviz/playground/page/curve.js";
import { embedding } from "../../lipviz/playground/page/sharing.js";
import { wordsOf } from "../../lipviz/playground/page/neurons.js";
import { percent, rounded, roundedDown, roundedUp } from "../../lipviz/playground/page/numbers.js";

function labelsOf(points) {
  return points.map(({ label }) => label);
}

function trained(settings, points, constrained, steps) {
  const training = new Training({ ...settings, constrained }, settings.seed);
  const x = matrixOf(points);
  for (let step = 0; step < steps; step++) training.step(x, labelsOf(points));
  return training;
}

function seen(training, points) {
  const scores = scoresAt(training.used, points);
  const loss = training.loss(matrixOf(points), labelsOf(points));
  return { loss, scores, radii: radii(certify(training.used), scores, matrixOf(points)) };
}

/** What a challenge says after some training with changed settings. */
function verdict(name, changes, steps) {
  const settings = { ...startSettings(), ...CHALLENGES[name].presets, ...changes };
  const points = toyPoints(settings.data, settings.noise, settings.seed);
  const constrained = seen(trained(settings, points, true, steps), points);
  return CHALLENGES[name].check({ settings, points, ordinary: constrained, constrained, tried: null });
}

test("radii are rounded down and bounds up, so that what is read is true, too", () => {
  for (let i = 0; i < 2000; i++) {
    const value = i / 700;
    assert.ok(Number(roundedDown(value)) <= value);
    assert.ok(Number(roundedUp(value)) >= value * (1 - 1e-9));
  }
  assert.deepEqual(
    [roundedDown(Infinity), roundedUp(Infinity), rounded(NaN), rounded(-1.5)],
    ["∞", "∞", "–", "−1.500"],
  );
  assert.deepEqual([roundedUp(1 + 1e-10), roundedUp(10), roundedUp(1234.5)], ["1", "10", "1235"]);
});

test("a neuron is named by its layer, with its range", () => {
  const layers = [2, 3, 1].map((cols) => ({ rows: 4, cols, data: Float64Array.from({ length: 4 * cols }, (_, i) => i / 2 - 1) }));
  const known = { side: 2, layers, kernels: [] };
  assert.equal(wordsOf(known, { layer: 0, number: 1 }), "Input 2, from −0.50 to 2.50.");
  const hidden = "Neuron 3 of 3 in hidden layer 1, behind its activation: from 0.00 to 4.50.";
  assert.equal(wordsOf(known, { layer: 1, number: 2 }), hidden);
  assert.equal(wordsOf(known, { layer: 2, number: 0 }), "The score, from −1.00 to 0.50.");
});

test("a curve shows few values of many steps, at equal distances, from the smallest to the largest", () => {
  const history = new History();
  for (let step = 0; step < 5000; step++) history.add(step);
  assert.ok(history.values.length > 200 && history.values.length <= 400);
  history.values.forEach((value, i) => assert.equal(value, i * history.stride));
  assert.deepEqual(heights([3, 1, 2]), [1, 0, 0.5]);
  assert.deepEqual(heights([2, 2]), [0, 0]);
});

test("the losses that are shown are those before each step", () => {
  const playground = new Playground();
  const before = [];
  for (let step = 0; step < 3; step++) {
    before.push(playground.view().constrained.loss);
    playground.step();
  }
  assert.deepEqual(playground.view().constrained.losses, before);
  playground.restart();
  assert.deepEqual(playground.view().constrained.losses, []);
});

test("unseen points are of the toy set and not among those that are learned; own points have none", () => {
  const playground = new Playground("data=circles&noise=0.2");
  const seen = new Set(playground.points.map(({ x, y }) => `${x} ${y}`));
  assert.equal(playground.unseen.length, UNSEEN);
  assert.equal(playground.unseen.filter(({ x, y }) => seen.has(`${x} ${y}`)).length, 0);
  const scores = scoresAt(playground.trainings.constrained.used, playground.unseen);
  const right = playground.unseen.filter((one, i) => isRight(one, scores[i])).length;
  assert.equal(playground.view().constrained.unseen, right / UNSEEN);
  assert.match(percent(playground.view().constrained.unseen), /^\d+(\.\d)? %$/);
  assert.deepEqual([percent(1), percent(0.975)], ["100 %", "97.5 %"]);
  playground.erasePoint(0);
  assert.equal(percent(playground.view().constrained.unseen), "–");
});

test("an address of nothing but a challenge opens it with its settings", () => {
  const { settings, points } = new Playground("challenge=fool");
  assert.deepEqual(settings, { ...startSettings(), ...CHALLENGES.fool.presets, challenge: "fool" });
  assert.deepEqual(points, toyPoints("moons", 0.25, 0));
  assert.equal(new Playground("challenge=fool&noise=0").settings.noise, 0);
});

test("a line that embeds an address is a single element, whatever the address", () => {
  const line = embedding('https://here/"><script>&#k=2');
  assert.equal(line.split("<").length, 3);
  assert.match(line, /^<iframe src="https:\/\/here\/&quot;>&lt;script>&amp;#k=2" /);
});

test("a toy set becomes the user's own with the first change, and its own again when all is taken back", () => {
  const playground = new Playground("data=circles");
  const drawn = playground.points;
  playground.erasePoint(0);
  playground.addPoint(9, -9, 1);
  assert.deepEqual(playground.points.at(-1), { x: 2, y: -2, label: 1 });
  assert.equal(playground.settings.data, "own");
  playground.clearPoints();
  assert.equal(playground.step(), false);
  for (let i = 0; i < 3; i++) assert.ok(playground.undo());
  assert.equal(playground.undo(), false);
  assert.equal(playground.settings.data, "circles");
  assert.deepEqual(playground.points, drawn);
  playground.set("data", "own");
  assert.deepEqual(playground.points, drawn);
});

test("changes of a gesture are one change", () => {
  const playground = new Playground();
  const drawn = playground.points;
  playground.join(true);
  for (let i = 0; i < 3; i++) playground.addPoint(0, i, 1);
  playground.join(false);
  playground.erasePoint(0);
  assert.equal(playground.points.length, drawn.length + 2);
  assert.ok(playground.undo());
  assert.equal(playground.points.length, drawn.length + 3);
  assert.ok(playground.undo());
  assert.deepEqual(playground.points, drawn);
  assert.equal(playground.undo(), false);
});

test("settings that need no new network change a training while it goes on", () => {
  const playground = new Playground();
  for (let step = 0; step < 3; step++) playground.step();
  for (const [name, value] of [
    ["k", 5],
    ["tau", 1],
    ["loss", "hkr"],
    ["margin", 2],
    ["rate", 0.001],
  ])
    playground.set(name, value);
  assert.equal(playground.steps, 3);
  assert.ok(Math.abs(playground.view().constrained.certificate.constant - 5) < 1e-3);
  playground.set("width", 3);
  assert.equal(playground.settings.width, 16);
  playground.set("width", 4);
  assert.equal(playground.steps, 0);
});

test("every setting survives the way through an address", () => {
  for (const [name, { values }] of Object.entries(SETTINGS)) {
    for (const value of values) {
      const settings = { ...startSettings(), [name]: value };
      const points = [point(-2, 1.234, 1), point(0, -0.001, 0)];
      const read = readAddress(`#${writeAddress(settings, points)}`);
      assert.deepEqual(read.settings, settings);
      assert.deepEqual(read.points, value === "own" ? points : null);
      assert.deepEqual(read.problems, []);
    }
  }
  assert.equal(writeAddress(startSettings(), []), "");
});

test("nonsense in an address gets a sentence that does not repeat it", () => {
  const nonsense = [
    "width=0",
    "k=NaN",
    "tau=<script>alert(1)</script>",
    "data=%00",
    "evil=1",
    "points=1.1.1&data=own&noise=-1",
  ];
  for (const text of [...nonsense, "data=own", "data=own&points=9999.0.1", `data=own&points=${"0.0.1_".repeat(300)}`]) {
    const { problems, settings } = readAddress(text);
    assert.equal(problems.length, 1, text);
    assert.doesNotMatch(problems.join(), /script|evil|9999|NaN/);
    for (const [name, { values }] of Object.entries(SETTINGS)) assert.ok(values.includes(settings[name]), text);
  }
});

test("toy points have two classes, lie inside of the picture, and are the same for the same seed", () => {
  for (const name of TOYS) {
    const points = toyPoints(name, 0.4, 3);
    assert.deepEqual(points, toyPoints(name, 0.4, 3));
    assert.notDeepEqual(points, toyPoints(name, 0.4, 4));
    assert.equal(points.filter(({ label }) => label === 1).length, points.length / 2);
    assert.ok(
      points.every(({ x, y }) => Math.max(Math.abs(x), Math.abs(y)) <= 2),
      name,
    );
  }
});

test("the disc challenge is open at its start, and done with a larger τ", () => {
  assert.equal(verdict("disc", {}, 0).done, false);
  assert.equal(verdict("disc", {}, 200).done, false);
  assert.equal(verdict("disc", { tau: 10 }, 200).done, true);
  assert.equal(verdict("disc", { tau: 10, noise: 0 }, 200).done, false);
  assert.match(verdict("disc", { tau: 100 }, 150).words, /Try a smaller one\.$/);
  assert.doesNotMatch(verdict("disc", {}, 150).words, /Try/);
});

test("the ReLU challenge is open with ReLU for long, and done with GroupSort2", () => {
  assert.equal(verdict("relu", {}, 200).done, false);
  assert.equal(verdict("relu", { activation: "groupsort2" }, 150).done, true);
  assert.equal(verdict("relu", { activation: "groupsort2", tau: 100 }, 150).done, false);
});

test("the fool challenge is done by the attacker's best step at a point, and not by others", () => {
  const settings = { ...startSettings(), ...CHALLENGES.fool.presets };
  const points = toyPoints(settings.data, settings.noise, settings.seed);
  const networks = {
    ordinary: trained(settings, points, false, 250),
    constrained: trained(settings, points, true, 250),
  };
  const at = (place) => ({
    ordinary: scoresAt(networks.ordinary.used, [place])[0],
    constrained: scoresAt(networks.constrained.used, [place])[0],
  });
  const moves = bestMoves(networks.ordinary.used, points, contour(field(networks.ordinary.used, 48, 2)));
  const check = (from, to) => CHALLENGES.fool.check({ tried: { from, to, before: at(from), after: at(to) } });
  const verdicts = points.map((from, i) => check(from, moves[i] ?? from));
  assert.ok(verdicts.some(({ done }) => done));
  verdicts.forEach(
    ({ done }, i) => done && assert.ok(moves[i].length < FOOL_GOAL && isRight(points[i], at(points[i]).ordinary)),
  );
  assert.equal(check(points[0], { x: 1.9, y: -1.9, label: 0 }).done, false);
  assert.equal(CHALLENGES.fool.check({ tried: null }).done, false);
});
