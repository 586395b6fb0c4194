"""Helpers for the tests of arrays."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

IS_TWO = np.__version__.startswith("2")
