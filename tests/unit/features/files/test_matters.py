"""What operators say of files in questions and tests: what is wrong with it, and where."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from baas.base.errors import Invalid
from baas.features.files.matters import read_files, read_said

WRONG = {"qqqq~/": 1, "sizes": 1}
DOORS: dict[str, Callable[[], object]] = {
    "/input": lambda: read_said(WRONG, "create", None),
    "/rows/buckets~1docs/0": lambda: read_files({"docs": [{"path": "x", **WRONG}]}, datetime(2026, 1, 1, tzinfo=UTC)),
}


@pytest.mark.parametrize("at", DOORS)
def test_an_unknown_member_is_named_with_its_place(at: str) -> None:
    """The pointer is one however the member is called; a closest name is said where there is one."""
    with pytest.raises(Invalid) as refused:
        DOORS[at]()
    found = {one.pointer: one.message.partition(". ")[2] for one in refused.value.errors if one.code == "unknown_field"}
    assert {f"{at}/qqqq~0~1": "", f"{at}/sizes": "Did you mean 'size'?"} == found
    assert all("None" not in one.message for one in refused.value.errors)
