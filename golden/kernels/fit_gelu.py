#!/usr/bin/env python3
"""Fits the polynomial behind `gelu_erf` and prints its coefficients, highest power first.

Needs: python >= 3.10, numpy 2, mpmath 1.3.

With Phi the normal distribution function and t >= 0, g(t) = exp(t^2/2) Phi(-t) falls smoothly from
1/2 towards 1 / (t sqrt(2 pi)). In q = (t - a) / (t + a), which maps [0, inf) to [-1, 1),
g(t) (t + a) is close to a polynomial. The fit minimises the largest relative error on [0, 15]
(Lawson's reweighted least squares); beyond, exp(-t^2/2) is below f32's range.
"""

import numpy as np
from mpmath import erfc, exp, mp, mpf, sqrt

import lawson

A = 2.5
DEGREE = 9
LAST = 15.0
NODES = 400

mp.dps = 40
last = (LAST - A) / (LAST + A)
x = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
q = (x + 1) / 2 * (last + 1) - 1
t = A * (1 + q) / (1 - q)
target = np.array(
    [float(exp(mpf(s) ** 2 / 2) * erfc(mpf(s) / sqrt(mpf(2))) / 2 * (mpf(s) + A)) for s in t]
)
basis = np.polynomial.chebyshev.chebvander(x, DEGREE)
found, error = lawson.fit(basis, target, 1 / target)
series = np.polynomial.chebyshev.Chebyshev(found, domain=[-1, last])
for coefficient in series.convert(kind=np.polynomial.Polynomial).coef[::-1]:
    print(f"{np.float32(coefficient):.9e}")
print(f"largest relative error {error:.1e}")
