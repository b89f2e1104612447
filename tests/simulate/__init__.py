"""Compares the scaler's rule with others on simulated days: `scripts/simulate`.

The decisions are the product's (`iacq.domain.scaling`, `placement`, `pool`); the rest is a clock of its own.

patterns.py     what people ask for, and when
rules.py        iacq's rule and those that others use
fleet.py        the pods
engine.py       replays a pattern under a rule
measured.py     waiting times and pod-hours, and the bill of a clairvoyant
"""
