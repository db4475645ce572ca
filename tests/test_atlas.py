"""The page of all tasks says what conf/task and the docstrings say."""

from pathlib import Path

import pytest

from seqmodels.atlas import Entry, atlas, example
from seqmodels.config import CONF
from seqmodels.tasks import CopyMemory, Digits

PAGE = Path(__file__).parents[1] / "seqmodels" / "tasks" / "README.md"


def test_the_page_is_what_the_command_prints():
    text = atlas()
    assert PAGE.read_text() == text, "python -m seqmodels.atlas > seqmodels/tasks/README.md"
    for file in (CONF / "task").glob("*.yaml"):
        assert text.count(f"\n| `{file.stem}` |") == 1


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("parity", "| accuracy | 0.5 | 0.99 | `length=[1,40]` `test_length=500` `doubling_batches=200` |"),
        ("csv", "| rmse |  |  | `path=...` `target=...` `window=24` `difference=false` |"),
    ],
)
def test_a_line_has_the_numbers_and_the_knobs(name, row):
    assert Entry.read(name).row().endswith(row)


def test_an_example_is_that_of_the_docstring():
    text = example(CopyMemory)
    assert text.startswith("**CopyMemory**: Inputs (batch, length + 2 * symbols)")
    assert ">>> task = CopyMemory(length=3, symbols=2, classes=8)\n" in text
    assert text.endswith("tensor([[0, 0, 0, 0, 0, 5, 7]])\n```")
    assert "```" not in example(Digits)
