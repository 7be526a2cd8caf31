"""What every check of an exercise says of an answer that is none: shared by the tests of checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cmr_course import checks

NO_ANSWERS: dict[str, Callable[..., Any]] = {
    "returned nothing": lambda *_: None,
    "stopped with ZeroDivisionError": lambda *_: 1 / 0,
}


def assert_no_answer_is_said_in_words(check: Callable[..., None]) -> None:
    """An answer that is none raises a CheckError that says so; a blank shows the hint that stands in it."""
    for says, function in NO_ANSWERS.items():
        with pytest.raises(checks.CheckError, match=says):
            check(function)

    def blank(*inputs: Any) -> None:
        raise NotImplementedError(f"the hint, after {len(inputs)} inputs")

    with pytest.raises(NotImplementedError, match=r"the hint, after [1-4] inputs"):
        check(blank)
