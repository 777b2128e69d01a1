"""Augmentation on a processor: compiled loops, one sample after the other, so that each stays in
the cache while it is worked on. They release the interpreter lock.

Written so that the compiler can use vector instructions: inner loops count from 0 over slices, and
indices that run backwards are unsigned (a signed one might be negative, which means "from the
end").
"""

from __future__ import annotations

import numpy as np
from numba import njit

from msinet_core.data.augmentation import CONTRAST, SATURATION


@njit(nogil=True, cache=True)
def place(source, target, flip, down, right, scale, shift):  # type: ignore[no-untyped-def]
    """target[c, y, x] = source[c, y + down, x + right] * scale[c] - shift[c], black outside
    `source`.

    source: uint8 3 x H x W, mirrored first if `flip`. target: float32 3 x H x W.
    """
    channels, height, width = source.shape
    left, until = min(max(-right, 0), width), max(min(width - right, width), 0)
    shown = max(until - left, 0)
    for c in range(channels):
        factor, term = scale[c], shift[c]
        for y in range(height):
            row = target[c, y]
            if shown == 0 or not 0 <= y + down < height:
                row[:] = -term
                continue
            row[:left] = -term
            row[until:] = -term
            inner, line = row[left:until], source[c, y + down]
            if flip:
                line = line[width - right - until : width - right - left]
                for i in range(shown):
                    inner[i] = np.float32(line[np.uint64(shown - 1 - i)]) * factor - term
            else:
                line = line[left + right : until + right]
                for i in range(shown):
                    inner[i] = np.float32(line[i]) * factor - term


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def mean_grey(red, green, blue, weights):  # type: ignore[no-untyped-def]
    """Mean of an image's grey version, summed in any order."""
    total = np.float32(0)
    for i in range(red.shape[0]):
        total += weights[0] * red[i] + weights[1] * green[i] + weights[2] * blue[i]
    return total / np.float32(red.shape[0])


@njit(nogil=True, cache=True)
def blend(plane, factor, other):  # type: ignore[no-untyped-def]
    """plane * factor + other, kept in 0..1."""
    for i in range(plane.shape[0]):
        plane[i] = min(max(plane[i] * factor + other, np.float32(0)), np.float32(1))


@njit(nogil=True, cache=True)
def saturate(red, green, blue, factor, weights):  # type: ignore[no-untyped-def]
    """Each pixel blended with its grey."""
    zero, one = np.float32(0), np.float32(1)
    rest = one - factor
    for i in range(red.shape[0]):
        grey = rest * (weights[0] * red[i] + weights[1] * green[i] + weights[2] * blue[i])
        red[i] = min(max(red[i] * factor + grey, zero), one)
        green[i] = min(max(green[i] * factor + grey, zero), one)
        blue[i] = min(max(blue[i] * factor + grey, zero), one)


@njit(nogil=True, cache=True)
def jitter(image, order, factors, weights):  # type: ignore[no-untyped-def]
    """In place on float32 3 x P in 0..1: brightness, contrast and saturation in this order.

    weights: of red, green and blue in grey.
    """
    red, green, blue = image[0], image[1], image[2]
    for kind in order:
        factor = factors[kind]
        if kind == SATURATION:
            saturate(red, green, blue, factor, weights)
            continue
        other = np.float32(0)
        if kind == CONTRAST:
            other = (np.float32(1) - factor) * mean_grey(red, green, blue, weights)
        for plane in (red, green, blue):
            blend(plane, factor, other)


@njit(nogil=True, cache=True)
def augment_batch(  # type: ignore[no-untyped-def]
    batch, out, move, jitters, order, factors, cast, weights, mean, std, erase, fill
):
    """uint8 N x 3 x H x W to augmented and normalised float32.

    move: N x 3, whether to flip, rows down, columns right. The others as in
    `augmentation.Draws`.
    """
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    byte = np.float32(255)
    for n in range(batch.shape[0]):
        image = out[n]
        flip, down, right = move[n, 0] != 0, move[n, 1], move[n, 2]
        if jitters:
            place(batch[n], image, flip, down, right, ones / byte, zeros)
            planes = image.reshape(3, -1)
            for c in range(3):
                if cast[n, c] != 1:
                    blend(planes[c], cast[n, c], np.float32(0))
            jitter(planes, order[n], factors[n], weights)
            for c in range(3):
                plane, factor, term = planes[c], ones[c] / std[c], mean[c] / std[c]
                for i in range(plane.shape[0]):
                    plane[i] = plane[i] * factor - term
        else:
            place(batch[n], image, flip, down, right, ones / (byte * std), mean / std)
        top, left, height, width = erase[n]
        for c in range(3):
            image[c, top : top + height, left : left + width] = fill[c]
