import assert from "node:assert/strict";
import { test } from "node:test";

import { ACTIVATIONS } from "../../lipviz/playground/engine/activations.js";
import { Adam } from "../../lipviz/playground/engine/adam.js";
import { bestMoves, scoresAt } from "../../lipviz/playground/engine/attack.js";
import { orthonormalize, pullBack } from "../../lipviz/playground/engine/bjorck.js";
import { certify, radii } from "../../lipviz/playground/engine/certificate.js";
import { contour } from "../../lipviz/playground/engine/contour.js";
import { field } from "../../lipviz/playground/engine/field.js";
import { crossEntropy, hkr } from "../../lipviz/playground/engine/losses.js";
import { fromRows, mapped, multiply, transposedTimes, zeros } from "../../lipviz/playground/engine/matrix.js";
import { gradients, run, used } from "../../lipviz/playground/engine/network.js";
import { matrixOf, toyPoints, TOYS } from "../../lipviz/playground/engine/points.js";
import { fieldOf, linksOf, neuronsOf } from "../../lipviz/playground/engine/neurons.js";
import { Random } from "../../lipviz/playground/engine/random.js";
import { eigenvalues, largestSingularValue } from "../../lipviz/playground/engine/spectrum.js";
import { Training } from "../../lipviz/playground/engine/training.js";
import { drawnCase, KINDS } from "./cases.js";

function gaussian(rows, cols, seed) {
  const random = new Random(seed);
  return mapped(zeros(rows, cols), () => random.normal());
}

function assertClose(got, want, tolerance, words) {
  assert.equal(got.length, want.length, words);
  for (let i = 0; i < got.length; i++) {
    assert.ok(
      Math.abs(got[i] - want[i]) <= tolerance * (1 + Math.abs(want[i])),
      `${words}: ${got[i]} for ${want[i]}, ${i}`,
    );
  }
}

/** Central differences of `value()` with respect to the entries of an array. */
function differences(value, entries, step = 1e-6) {
  return entries.map((_, i) => {
    const kept = entries[i];
    entries[i] = kept + step;
    const above = value();
    entries[i] = kept - step;
    const below = value();
    entries[i] = kept;
    return (above - below) / (2 * step);
  });
}

function inner(a, b) {
  return a.data.reduce((sum, value, i) => sum + value * b.data[i], 0);
}

test("eigenvalues are those of the spectrum that a matrix was made of", () => {
  const { matrix: q } = orthonormalize(orthonormalize(gaussian(7, 7, 1)).matrix);
  const values = [5, 2, 1, 1, 1e-3, 1e-9, 0];
  const scaledRows = mapped(q, (value, i) => value * values[Math.floor(i / 7)]);
  const found = Array.from(eigenvalues(transposedTimes(q, scaledRows))).sort((a, b) => b - a);
  assertClose(found, values, 1e-12, "eigenvalues");
});

test("the largest singular value is exact for scales from 1e-300 to 1e300", () => {
  for (const scale of [1e-300, 1, 1e300]) {
    assertClose(
      [
        largestSingularValue(
          fromRows([
            [3 * scale, 0],
            [4 * scale, 0],
            [0, scale],
          ]),
        ) / scale,
      ],
      [5],
      1e-14,
      `${scale}`,
    );
  }
  assert.equal(largestSingularValue(zeros(3, 2)), 0);
  assert.ok(Number.isNaN(largestSingularValue(fromRows([[NaN, 1]]))));
});

const MEASURED = 1e-14; // rounding of the measured singular values

test("an orthonormalized kernel has singular values of 1, and never one above", () => {
  for (const [rows, cols] of [
    [2, 16],
    [16, 16],
    [9, 4],
    [16, 1],
    [1, 1],
  ]) {
    const { matrix } = orthonormalize(gaussian(rows, cols, rows + cols));
    const sigma = largestSingularValue(matrix);
    assert.ok(sigma <= 1 + MEASURED && sigma > 1 - 1e-6, `${rows} × ${cols}: ${sigma}`);
  }
  for (const kind of Object.keys(KINDS)) {
    const { network } = drawnCase({
      kind,
      seed: 3,
      activation: "groupsort2",
      width: 8,
      depth: 2,
      constrained: true,
      k: 1,
    });
    for (const { kernel } of network.layers)
      assert.ok(largestSingularValue(orthonormalize(kernel).matrix) <= 1 + MEASURED, kind);
  }
});

test("the gradient through Björck is that of the iteration with a constant divisor", () => {
  for (const [rows, cols] of [
    [5, 5],
    [2, 6],
    [6, 3],
  ]) {
    const kernel = gaussian(rows, cols, 7);
    const upstream = gaussian(rows, cols, 8);
    const result = orthonormalize(kernel);
    const { factor, states } = result;
    // The iteration on the kernel itself, with the divisor and the number of steps of `result`.
    const value = () => {
      const wide = rows < cols;
      let w = mapped(kernel, (entry) => entry * factor);
      for (let i = 0; i < states.length; i++) {
        const cubic = wide
          ? multiply(multiply(w, { rows: cols, cols: rows, data: flipped(w) }), w)
          : multiply(w, transposedTimes(w, w));
        w = mapped(w, (entry, j) => 1.5 * entry - 0.5 * cubic.data[j]);
      }
      return inner(w, upstream);
    };
    assertClose(pullBack(result, upstream).data, differences(value, kernel.data), 1e-7, `${rows} × ${cols}`);
  }
});

function flipped(w) {
  const data = new Float64Array(w.data.length);
  w.data.forEach((value, i) => (data[(i % w.cols) * w.rows + Math.floor(i / w.cols)] = value));
  return data;
}

test("activations keep norms where they should, and their gradients are those of differences", () => {
  const x = gaussian(3, 4, 5);
  for (const [name, { apply, pullBack: pulled, growth }] of Object.entries(ACTIVATIONS)) {
    const upstream = gaussian(3, 4 * growth, 6);
    const value = () => inner(apply(x), upstream);
    assertClose(pulled(x, upstream).data, differences(value, x.data), 1e-8, name);
    if (name !== "relu") assertClose([inner(apply(x), apply(x))], [inner(x, x)], 1e-14, name);
  }
});

test("losses have the gradients of their values", () => {
  const scores = gaussian(9, 1, 2).data;
  const labels = [0, 1, 1, 0, 1, 0, 0, 0, 1];
  for (const tau of [0.1, 1, 30]) {
    const value = () => crossEntropy(scores, labels, tau).value;
    assertClose(crossEntropy(scores, labels, tau).gradient, differences(value, scores), 1e-8, `τ = ${tau}`);
  }
  const value = () => hkr(scores, labels, 0.7).value;
  assertClose(hkr(scores, labels, 0.7).gradient, differences(value, scores), 1e-8, "HKR");
  assert.equal(crossEntropy(Float64Array.of(1e308, -1e308), [1, 0], 1e3).value, 0);
  assert.ok(
    Number.isFinite(
      hkr(
        scores,
        labels.map(() => 1),
        1,
      ).value,
    ),
  );
});

test("gradients of a whole network are those of differences", () => {
  for (const activation of Object.keys(ACTIVATIONS)) {
    const settings = { activation, width: 6, depth: 2, constrained: false, k: 1 };
    const { network, x, labels } = drawnCase({ ...settings, kind: "gaussian", seed: 4 });
    const value = () => crossEntropy(run(used(network), x).scores, labels, 2).value;
    const now = used(network);
    const forward = run(now, x);
    const found = gradients(now, forward, crossEntropy(forward.scores, labels, 2).gradient);
    network.layers.forEach((layer, i) => {
      assertClose(
        found.layers[i].kernel.data,
        differences(value, layer.kernel.data),
        1e-6,
        `${activation}, kernel ${i}`,
      );
      assertClose(found.layers[i].bias, differences(value, layer.bias), 1e-6, `${activation}, bias ${i}`);
    });
    assertClose(found.inputs.data, differences(value, x.data), 1e-6, `${activation}, inputs`);
  }
});

test("the first step of Adam moves each parameter by the learning rate, against the sign of its gradient", () => {
  const values = Float64Array.of(1, 1, 1);
  new Adam([values]).step([Float64Array.of(5, -1e-3, 0)], 0.1);
  // √v̂ is |g|, and Keras adds ε to √v = |g| √(1 − β₂).
  const moved = (g) => (0.1 * g) / (g + 1e-7 / Math.sqrt(1 - 0.999));
  assertClose(values, [1 - moved(5), 1 + moved(1e-3), 1], 1e-14, "values");
  const decayed = Float64Array.of(2, -3);
  new Adam([decayed]).step([Float64Array.of(5, 0)], 0.1, 0.5);
  assertClose(decayed, [2 * 0.95 - moved(5), -3 * 0.95], 1e-14, "values with weight decay");
});

test("no attack is shorter than a certified radius, and each changes the sign of the score", () => {
  for (const constrained of [true, false]) {
    for (const activation of Object.keys(ACTIVATIONS)) {
      const settings = {
        activation,
        width: 8,
        depth: 2,
        constrained,
        k: 1.5,
        loss: "crossentropy",
        tau: 5,
        margin: 1,
        rate: 0.03,
      };
      const training = new Training(settings, 1);
      const points = toyPoints("moons", 0.2, 0, 40);
      const labels = points.map(({ label }) => label);
      for (let step = 0; step < 40; step++) assert.ok(training.step(matrixOf(points), labels));
      const scores = scoresAt(training.used, points);
      const safe = radii(certify(training.used), scores, matrixOf(points));
      const moves = bestMoves(training.used, points, contour(field(training.used, 24, 2)));
      const ends = scoresAt(
        training.used,
        moves.map((move, i) => move ?? points[i]),
      );
      moves.forEach((move, i) => {
        if (move === null) return;
        assert.ok(move.length >= safe[i], `${activation}: ${move.length} < ${safe[i]}`);
        assert.notEqual(ends[i] > 0, scores[i] > 0);
      });
      assert.ok(moves.filter((move) => move !== null).length > 30, `${activation}: too few attacks succeed`);
    }
  }
});

test("no place inside of a certified disc is decided otherwise than its middle", () => {
  const random = new Random(9);
  const base = { width: 8, depth: 2, k: 2, loss: "crossentropy", tau: 5, margin: 1, rate: 0.03 };
  const points = toyPoints("spirals", 0.1, 0, 40);
  const labels = points.map(({ label }) => label);
  for (const [activation, constrained] of [
    ["groupsort2", true],
    ["relu", true],
    ["maxmin", false],
  ]) {
    const training = new Training({ ...base, activation, constrained }, 2);
    for (let step = 0; step < 30; step++) training.step(matrixOf(points), labels);
    const scores = scoresAt(training.used, points);
    const safe = radii(certify(training.used), scores, matrixOf(points));
    assert.ok(safe.every((radius) => radius >= 0) && safe.some((radius) => radius > 0.01));
    for (let draw = 0; draw < 25; draw++) {
      const angles = points.map(() => 2 * Math.PI * random.uniform());
      const moved = points.map(({ x, y }, i) => ({
        x: x + safe[i] * Math.cos(angles[i]),
        y: y + safe[i] * Math.sin(angles[i]),
      }));
      scoresAt(training.used, moved).forEach((score, i) => {
        assert.ok(safe[i] === 0 || score > 0 === scores[i] > 0, `${activation}: ${safe[i]}`);
      });
    }
  }
});

test("each neuron's picture is what the network computes there, and each line a weight that it computes with", () => {
  for (const activation of ["groupsort2", "maxmin", "relu"]) {
    const settings = { activation, width: 4, depth: 2, constrained: true, k: 3, loss: "hkr" };
    const network = new Training(settings, 1).used;
    const neurons = neuronsOf(network, 5, 2);
    assert.deepEqual(
      neurons.layers.map(({ rows, cols }) => [rows, cols]),
      [[25, 2], [25, 4], [25, 4], [25, 1]],
    );
    assert.deepEqual([...fieldOf(neurons, 3, 0, 2).scores], [...field(network, 5, 2).scores]);
    assert.deepEqual([...fieldOf(neurons, 0, 0, 2).scores].slice(0, 5), [-2, -1, 0, 1, 2]);
    // The score is the sum of the last hidden neurons, each times the weight of its line.
    const links = linksOf(neurons, 2);
    const sum = links.reduce((total, { from, weight }) => total + weight * fieldOf(neurons, 2, from, 2).scores[7], 0);
    assert.ok(Math.abs(sum + network.biases[2][0] - fieldOf(neurons, 3, 0, 2).scores[7]) < 1e-12);
    assert.equal(Math.max(...links.map(({ share }) => share)), 1);
    // With MaxMin, a unit has two neurons, to which the same lines lead.
    const strengths = linksOf(neurons, 1).filter(({ from }) => from === 3);
    assert.deepEqual(strengths.map(({ to }) => to), [0, 1, 2, 3]);
    if (activation === "maxmin") assert.equal(strengths[1].weight, strengths[3].weight);
  }
});

test("training lowers the loss of every toy set", () => {
  for (const name of TOYS) {
    const points = toyPoints(name, 0.1, 0);
    const x = matrixOf(points);
    const labels = points.map(({ label }) => label);
    const settings = {
      activation: "groupsort2",
      width: 8,
      depth: 2,
      constrained: true,
      k: 1,
      loss: "crossentropy",
      tau: 10,
      margin: 1,
      rate: 0.02,
    };
    const training = new Training(settings, 0);
    const before = training.loss(x, labels);
    for (let step = 0; step < 60; step++) training.step(x, labels);
    assert.ok(training.loss(x, labels) < before, name);
  }
});

test("a step that is not finite changes nothing", () => {
  const settings = {
    activation: "relu",
    width: 2,
    depth: 1,
    constrained: false,
    k: 1,
    loss: "hkr",
    tau: 1,
    margin: 1,
    rate: 1,
  };
  const training = new Training(settings, 0);
  const before = training.network.layers.map(({ kernel }) => Array.from(kernel.data));
  assert.equal(training.step(fromRows([[NaN, 0]]), [1]), false);
  assert.deepEqual(
    training.network.layers.map(({ kernel }) => Array.from(kernel.data)),
    before,
  );
  assert.equal(training.steps, 0);
});
