"""The lists and pages of layers and tasks say what conf/ and the docstrings say."""

from pathlib import Path

import pytest

from seqmodels.catalogue import entry, example, layers_page, task_row, tasks_page
from seqmodels.config import CONF
from seqmodels.tasks import CopyMemory, Digits

PACKAGE = Path(__file__).parents[1] / "seqmodels"
NAMES = {group: sorted(file.stem for file in (CONF / group).glob("*.yaml")) for group in ("task", "model")}


def test_the_page_of_tasks_ends_with_what_the_command_prints():
    text = tasks_page()
    assert (PACKAGE / "tasks" / "README.md").read_text().endswith(text), "seqmodels tasks markdown=true"
    for name in NAMES["task"]:
        assert text.count(f"\n| `{name}` |") == 1


def test_the_page_of_layers_has_the_table_that_the_command_prints():
    text = layers_page()
    assert text in (PACKAGE / "layers" / "README.md").read_text(), "seqmodels layers markdown=true"
    for name in NAMES["model"]:
        assert text.count(f"\n| `{name}` |") == 1


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("parity_check", ["accuracy", "0.5", "0.99", "`length=[1,40]` `test_length=500` `doubling_batches=200`"]),
        ("csv", ["rmse", "", "", "`path=...` `target=...` `window=24` `difference=false`"]),
    ],
)
def test_a_row_has_the_numbers_and_the_settings(name, row):
    assert task_row(entry("task", name))[2:] == row


def test_an_example_is_that_of_the_docstring():
    text = example(CopyMemory)
    assert text.startswith("**CopyMemory**: Inputs (batch, length + 2 * symbols)")
    assert ">>> task = CopyMemory(length=3, symbols=2, classes=8)\n" in text
    assert text.endswith("tensor([[0, 0, 0, 0, 0, 5, 7]])\n```")
    assert "```" not in example(Digits)


@pytest.mark.parametrize("verb", ["tasks", "layers"])
def test_the_list_has_a_line_for_each(type_command, tmp_path, verb):
    code, printed, _ = type_command(verb=verb)
    assert code == 0
    assert [line.split()[0] for line in printed.splitlines()] == NAMES[{"tasks": "task", "layers": "model"}[verb]]
    assert all(len(line.split()) > 2 for line in printed.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_a_layer_is_shown_with_its_equations_arguments_and_paper(type_command):
    code, printed, _ = type_command("lru", "nn_gru", verb="layers")
    assert code == 0
    for part in ("s_t = lambda * s_{t-1}", "Orvieto", "hidden_size", "r_t = sigmoid(", "Cho et al."):
        assert part in printed


def test_a_task_is_shown_with_its_example_chance_and_settings(type_command):
    code, printed, _ = type_command("adding", verb="tasks")
    assert code == 0
    for part in ("marked numbers", ">>> ", "Chance: 0.167", "halves=true"):
        assert part in printed


def test_a_name_there_is_not(type_command):
    code, _, complaint = type_command("addding", verb="tasks")
    assert code == 1
    assert "there is no task 'addding'; did you mean 'adding'?" in complaint
    assert complaint.count("\n") == 1
