"""Helpers for the tests of blocks."""

from __future__ import annotations

from hypothesis import strategies as st

HUGE = 10**40  # beyond any machine word


bounds = st.none() | st.integers(-70, 70) | st.sampled_from([-HUGE, HUGE])
