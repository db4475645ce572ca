"""Pictures of a comparison."""

from typing import Any


def pictures(*a: Any) -> dict:
    return {}
