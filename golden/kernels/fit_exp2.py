#!/usr/bin/env python3
"""Fits the polynomial behind `exp2` and prints its coefficients, highest power first.

Needs: python >= 3.10, numpy 2, mpmath 1.3.

On [-0.5, 0.5], (2^x - 1) / x is close to a polynomial, so that 2^0 is exactly 1. The fit minimises
the largest error of 2^x that it causes, relative to 2^x (Lawson's reweighted least squares).
"""

import numpy as np
from mpmath import mp, mpf

import lawson

LAST = 0.5
DEGREE = 5
NODES = 400

mp.dps = 40
x = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES) * LAST
target = np.array([float((mpf(2) ** mpf(v) - 1) / mpf(v)) for v in x])
effect = abs(x) / 2.0**x
basis = np.vander(x, DEGREE + 1)
found, error = lawson.fit(basis, target, effect)
for coefficient in found:
    print(f"{np.float32(coefficient):.9e}")
print(f"largest relative error {error:.1e}")
