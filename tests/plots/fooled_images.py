"""Images under two attacks, made by hand."""

import numpy as np

from lipviz.measure import FooledImage, NetworkUnderAttack

CLASSES = ("shirt", "bag", "boot")


def fooled(epsilon=0.5, predicted=(1, 0), names=("ordinary", "constrained"), index=0, seed=0):
    """An image of class 0, which two networks see changed and decide for `predicted`."""
    image = np.random.default_rng(seed).uniform(0.2, 0.8, (4, 4))
    networks = []
    for place, (name, number) in enumerate(zip(names, predicted, strict=True)):
        changed = image.copy()
        changed[place, place] += 0.3 * epsilon
        networks.append(NetworkUnderAttack(name, changed, 0.3 * epsilon, number, np.eye(3)[number], 0.4, 0.1 + place))
    return FooledImage(index, image, 0, CLASSES, epsilon, tuple(networks))
