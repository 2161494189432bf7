#!/usr/bin/env python3
"""Fits the polynomial behind `tanh` near zero and prints its coefficients, highest power first.

Needs: python >= 3.10, numpy 2, mpmath 1.3.

On [0, LAST], (tanh(x) - x) / x^3 is close to a polynomial in x^2. The fit minimises the largest
error of tanh that it causes, relative to tanh (Lawson's reweighted least squares).
"""

import numpy as np
from mpmath import mp, mpf, tanh

import lawson

LAST = 0.625
DEGREE = 4
NODES = 400

mp.dps = 40
s = (np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES) + 1) / 2 * LAST**2
x = np.sqrt(s)
target = np.array([float((tanh(mpf(v)) - mpf(v)) / mpf(v) ** 3) for v in x])
effect = x**3 / np.tanh(x)
basis = np.vander(s, DEGREE + 1)
found, error = lawson.fit(basis, target, effect)
for coefficient in found:
    print(f"{np.float32(coefficient):.9e}")
print(f"largest relative error {error:.1e}")
