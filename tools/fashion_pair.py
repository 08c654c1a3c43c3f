"""Train the two networks of the explorer of fooled images, choose its images, and write the file that lipviz ships.

    python -m tools.fashion_pair

An ordinary network and a 1-Lipschitz one of the same sizes learn Fashion-MNIST. Of five classes the test image is taken
that shows the difference best: both networks classify it correctly, an attack fools the ordinary one by a change
shorter than 0.55, and the certified radius of the other one is the largest. So the images are not typical, and the
lesson says so. Kernels are stored in float16. Everything that is claimed about the networks is computed from what is
stored. Takes about ten minutes on two CPU cores.
"""

import keras
import numpy as np

import lipviz
from lipviz import certification, data, layers, losses
from lipviz.toys import fashion

WIDTH, BATCH = 64, 256
TAU = 2.5
EPOCHS = {"ordinary": 15, "constrained": 5}
RATE = {"ordinary": 1e-3, "constrained": 5e-3}
CLASSES = (8, 1, 0, 5, 9)  # bag, trouser, T-shirt, sandal, ankle boot
CANDIDATES = 1000  # test images
STEPS, OVERSHOOT, NEAREST = 12, 0.02, 3  # of the attack: steps to each of the nearest classes
SHORT = 0.55  # length of a change that fools the ordinary network


def networks():
    """Both networks, untrained, each with its loss."""
    relu = [keras.layers.Dense(WIDTH, "relu") for _ in range(2)]
    ordinary = keras.Sequential([keras.Input((784,)), *relu, keras.layers.Dense(10)])
    hidden = [layer for _ in range(2) for layer in (layers.SpectralDense(WIDTH), layers.GroupSort2())]
    constrained = lipviz.Sequential([keras.Input((784,)), *hidden, layers.SpectralDense(10)])
    return {
        "ordinary": (ordinary, keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
        "constrained": (constrained, losses.TauSparseCategoricalCrossentropy(TAU)),
    }


def trained(x, y):
    """Both networks, trained on all images."""
    made = {}
    for name in networks():
        keras.utils.set_random_seed(0)
        model, loss = networks()[name]
        steps = len(x) // BATCH * EPOCHS[name]
        rate = keras.optimizers.schedules.CosineDecay(RATE[name], steps)
        model.compile(keras.optimizers.Adam(rate), loss=loss)
        model.fit(x, y, batch_size=BATCH, epochs=EPOCHS[name], verbose=2)
        made[name] = model
    return made


def stored(model):
    """Kernels and biases of a network, as the file has them."""
    used = [layer for layer in model.layers if layer.weights]
    kernels = [getattr(layer, "wbar", layer.kernel) for layer in used]
    return [np.asarray(array, np.float16) for k, layer in zip(kernels, used, strict=True) for array in (k, layer.bias)]


def linearized(arrays, x, sorts):
    """Logits of one image, float64, and their Jacobian, of shape (784, 10)."""
    slope, value = None, x
    for place in range(0, len(arrays), 2):
        kernel, bias = arrays[place].astype(float), arrays[place + 1].astype(float)
        slope, value = kernel if slope is None else slope @ kernel, value @ kernel + bias
        if place + 2 == len(arrays):
            return value, slope
        order = np.arange(len(value))
        if sorts:
            order = np.argsort(value.reshape(-1, 2), axis=1).ravel() + 2 * (order // 2)
        keeps = np.ones(len(value)) if sorts else value > 0
        slope, value = (slope * keeps)[:, order], (value * keeps)[order]
    raise ValueError("expected kernels and biases")


def nearest_on(x, gradient, gap):
    """The nearest point to x, with grey levels from 0 to 1, at which a linear score has fallen by a gap, or None."""
    low, high = 0.0, 1.0
    while gradient @ (np.clip(x - high * gradient, 0, 1) - x) > -gap:
        high *= 2
        if high > 1e6:
            return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if gradient @ (np.clip(x - middle * gradient, 0, 1) - x) > -gap else (low, middle)
    return np.clip(x - high * gradient, 0, 1)


def first_step(arrays, x, label):
    """Length of the first step of DeepFool, to the boundary of the linearized network."""
    logits, slope = linearized(arrays, x, False)
    others = [other for other in range(10) if other != label]
    gradients = slope[:, [label]] - slope[:, others]
    return np.min((logits[label] - logits[others]) / np.linalg.norm(gradients, axis=0))


def attack(arrays, x, label, sorts):
    """A short change that alters the decision: DeepFool, where grey levels stay from 0 to 1, or None."""
    best = None
    logits, slope = linearized(arrays, x, sorts)
    steps = (logits[label] - logits) / np.maximum(np.linalg.norm(slope[:, [label]] - slope, axis=0), 1e-12)
    steps[label] = np.inf
    for other in np.argsort(steps)[:NEAREST]:
        point = x
        for _ in range(STEPS):
            logits, slope = linearized(arrays, point, sorts)
            gradient, margin = slope[:, label] - slope[:, other], logits[label] - logits[other]
            if margin < 0:
                break
            # The linear score at x, seen from this point; a little more than needed, so that the decision changes.
            moved = nearest_on(x, gradient, (margin + gradient @ (x - point)) * (1 + OVERSHOOT))
            if moved is None:
                break
            point = moved
        change = point - x
        is_other = linearized(arrays, point, sorts)[0].argmax() != label
        if is_other and (best is None or np.linalg.norm(change) < np.linalg.norm(best)):
            best = change
    return best


def chosen(models, pair, x, y):
    """Numbers of the images, and the directions of both attacks, of shape (5, 2, 784)."""
    ordinary_arrays, constrained_arrays = stored(models["ordinary"]), stored(models["constrained"])
    found = [certification.certified_radius(model, x, y) for model in pair]
    right = found[0].correct & found[1].correct & np.isin(y, CLASSES)
    ranked = [i for i in np.argsort(-found[1].radii) if right[i]]
    numbers, changes = [], []
    for label in CLASSES:
        for i in (i for i in ranked if y[i] == label):
            if first_step(ordinary_arrays, x[i].astype(float), label) > SHORT:
                continue  # without bounds for grey levels, it would be too long already
            ordinary = attack(ordinary_arrays, x[i].astype(float), label, False)
            constrained = attack(constrained_arrays, x[i].astype(float), label, True)
            if ordinary is not None and constrained is not None and np.linalg.norm(ordinary) < SHORT:
                numbers.append(int(i))
                changes.append([ordinary, constrained])
                break
    changes = np.array(changes)
    print([np.linalg.norm(change, axis=-1).round(3).tolist() for change in changes], found[1].radii[numbers])
    return numbers, changes / np.linalg.norm(changes, axis=-1, keepdims=True)


def write(models, x_test, y_test, path=fashion.FILE):
    """Write the networks, five images and the directions of the attacks."""
    arrays = {f"{name}_{place}": array for name, model in models.items() for place, array in enumerate(stored(model))}
    np.savez_compressed(path, **arrays, images=x_test[:0], labels=y_test[:0], directions=x_test[:0])
    x, y = x_test[:CANDIDATES].reshape(-1, 784), y_test[:CANDIDATES]
    numbers, directions = chosen(models, fashion.fashion_pair(path), x, y)
    images = np.round(255 * x[numbers]).astype(np.uint8).reshape(-1, 28, 28)
    arrays |= {"images": images, "labels": y[numbers].astype(np.uint8), "directions": directions.astype(np.float16)}
    np.savez_compressed(path, **arrays)
    accuracies = [
        float(np.mean(m.predict(x_test.reshape(-1, 784), verbose=0).argmax(1) == y_test)) for m in models.values()
    ]
    print(f"images {numbers}, {path.stat().st_size / 1000:.0f} kB, accuracies {accuracies}")


if __name__ == "__main__":
    (train, labels), test = data.fashion_mnist()
    write(trained(train.reshape(-1, 784), labels), *test)
