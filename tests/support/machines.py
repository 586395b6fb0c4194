"""Helpers for the tests of the model."""

from __future__ import annotations

from memgroup.rmap import Machine


def family(policy="modern", **options):
    machine = Machine(policy, **options)
    return machine, machine.spawn()
