"""Moments as they are stored: ISO 8601 in UTC, to the millisecond, so that text order is time order."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """``2026-07-04T12:00:00.000Z``"""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(moment: str | None) -> float:
    """Seconds since ``moment``; infinite for None."""
    if moment is None:
        return float("inf")
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
