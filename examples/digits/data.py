"""scikit-learn's digits, split once and for all: 1,437 images to train on, 360 held out."""

import numpy as np
from sklearn.datasets import load_digits

__all__ = ["HELD_OUT", "split"]

HELD_OUT = 360
Images = tuple[np.ndarray, np.ndarray]


def split() -> tuple[Images, Images]:
    """(images, labels) to train on, and held out: float32 [n, 1, 8, 8] from 0 to 1, int64 [n]."""
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    order = np.random.RandomState(0).permutation(len(images))
    training, held_out = order[:-HELD_OUT], order[-HELD_OUT:]
    labels = digits.target.astype(np.int64)
    return (images[training], labels[training]), (images[held_out], labels[held_out])
