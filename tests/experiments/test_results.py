"""The table of finished runs, some of them from strangers."""

import json
import os

import pytest

from seqmodels.config import compose
from seqmodels.files import digest_of


def table_in(printed):
    """The lines of a Markdown table; the runs before it have printed as well."""
    return [line for line in printed.splitlines() if line.startswith("| ") and line.endswith(" |")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders with a few runs each, without their pictures, which take most of the time."""
    from seqmodels.runs.build import build
    from seqmodels.runs.run import run

    root = tmp_path_factory.mktemp("trained")
    short = ["trainer=smoke", "trainer.max_steps=3", "logger=none", "trainer.enable_progress_bar=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqmodels.runs.run.draw", lambda *arguments: None)
        for name, options in {
            "check/one": ["seed=1", "model.hidden_size=4"],
            "check/two": ["seed=2", "model.hidden_size=4"],
            "adding/one": ["task=adding", "model.hidden_size=4"],
            "adding/wide": ["task=adding", "model.hidden_size=5", "seed=2"],
            "adding/torch": ["task=adding", "model=nn_rnn", "model.hidden_size=4"],
            "unseen": ["task=adding", "task.test_lengths=[5,20,30]", "model.hidden_size=4"],
        }.items():
            (root / name).mkdir(parents=True)
            run(build(compose(*short, *options), root / name), root / name)
    return root


def rows_in(printed):
    """The rows of a Markdown table, by the names of its columns."""
    header, rule, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table_in(printed)]
    assert set(rule) == {"---"}
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_runs_are_listed_from_best_to_worst_on_validation(trained, type_command):
    rows = rows_in(type_command(f"folder={trained}", "markdown=true", verb="results")[1])
    assert [row["task"] for row in rows] == 4 * ["adding"] + 2 * ["parity_check"]
    accuracies = [float(row["validation"]) for row in rows[4:]]
    assert accuracies == sorted(accuracies, reverse=True)
    errors = [float(row["validation"]) for row in rows[:4]]
    assert errors == sorted(errors)
    assert {row["seed"] for row in rows[4:]} == {"1", "2"}
    assert "parity_check" in type_command(f"folder={trained}", verb="results")[1]


def test_the_mean_over_unseen_lengths_has_a_column_where_there_is_one(trained, type_command):
    def table(folder):
        return rows_in(type_command(f"folder={folder}", "markdown=true", verb="results")[1])

    assert "unseen" not in table(trained / "adding")[0]
    assert {bool(row["unseen"]) for row in table(trained)} == {True, False}


def test_what_tells_runs_of_one_model_on_one_task_apart_has_a_column(trained, type_command):
    runs = rows_in(type_command(f"folder={trained / 'adding'}", "markdown=true", verb="results")[1])
    settings = {(run["model"], run["seed"]): run["hidden_size"] for run in runs}
    assert settings == {("manual_rnn", "1"): "4", ("manual_rnn", "2"): "5", ("nn_rnn", "1"): "4"}
    assert not {"bias", "lr", "optimizer"} & set(runs[0])  # no run differs in them


def test_many_settings_that_differ_share_a_column_of_one_line(tmp_path, type_command):
    def config(number):
        names = [f"  very_long_name_of_a_setting_{index}: {number}" for index in range(9)]
        return "\n".join(["model:", *names, "  bias: true", ""])

    for number in (1, 2):
        leave(tmp_path / f"run{number}", config(number), test=0.1 * number)
    leave(tmp_path / "other", config(1), model="other")
    _, shown, _ = type_command(f"folder={tmp_path}", verb="results")
    rows = [line for line in shown.splitlines() if "rnn" in line or "other" in line]
    assert len(rows) == 3
    for number in (1, 2):
        settings = " ".join(f"very_long_name_of_a_setting_{index}={number}" for index in range(9))
        assert len([row for row in rows if settings in row]) == 1
    assert len(shown.splitlines()) == 3 + 3 + 1


def test_no_row_is_sorted_by_its_test(tmp_path, type_command):
    for model, validation, score in [("a", 0.3, 0.1), ("b", 0.1, 0.3), ("c", float("nan"), 0.0), ("d", None, 0.01)]:
        leave(tmp_path / model, model=model, validation=validation, test=score)
    for model, validation, score in [("e", 0.6, 0.9), ("f", 0.8, 0.7)]:
        leave(tmp_path / model, model=model, validation=validation, test=score, task="bits", metric="accuracy")
    _, shown, _ = type_command(f"folder={tmp_path}", "markdown=true", verb="results")
    rows = rows_in(shown)
    assert [row["model"] for row in rows] == ["b", "a", "c", "d", "f", "e"]
    assert [row["validation"] for row in rows] == ["0.1", "0.3", "nan", "", "0.8", "0.6"]


def test_a_run_says_when_it_finished_and_where_it_lies(tmp_path, type_command):
    leave(tmp_path / "a" / "b", finished="2026-11-23T19:04:05+02:00", validation=0.1)
    leave(tmp_path / "a" / "d", finished="2026-11-22T19:04:05+02:00", seed=2)
    leave(tmp_path / "c", finished="yesterday")
    _, shown, errors = type_command(f"folder={tmp_path}", "markdown=true", verb="results")
    assert table_in(shown)[2].split(" | ")[-2:] == ["2026-11-23 17:04", "a/b |"]
    assert errors.startswith(f"left out: {tmp_path / 'c' / 'result.json'}: Invalid isoformat string: 'yesterday'")


def test_a_folder_without_runs_is_an_error(tmp_path, type_command):
    for folder, message in {
        ".": "expected finished runs in ., found none",
        "nowhere": "folder=nowhere: there is no such folder",
        "": "folder should name a folder with runs, such as outputs, got ''",
        "null": "folder should name a folder with runs, such as outputs, got null",
    }.items():
        assert type_command(f"folder={folder}", verb="results") == (1, "", f"error: {message}\n")
    for content in ("{}", '{"model": ', "[]"):
        (tmp_path / "result.json").write_text(content)
        code, _, complaint = type_command(f"folder={tmp_path}", verb="results")
        assert code == 1
        assert complaint.startswith(f"left out: {tmp_path / 'result.json'}")
        assert complaint.endswith(f"error: none of the 1 results below {tmp_path} can be shown\n")
        assert complaint.count("\n") == 2


def test_the_runs_of_a_sweep_are_those_that_it_names(tmp_path, type_command):
    leave(tmp_path / "a", model="named")
    leave(tmp_path / "b", model="other")
    sweep = tmp_path / "sweeps" / "mine" / "sweep.json"
    sweep.parent.mkdir(parents=True)
    sweep.write_text(json.dumps({"runs": [{"folder": "../../a"}, {"folder": "../../waiting"}]}))
    code, shown, errors = type_command(f"folder={sweep.parent}", "markdown=true", verb="results")
    assert (code, errors) == (0, "")
    assert [row["model"] for row in rows_in(shown)] == ["named"]
    (tmp_path / "sweep.json").write_text("[]")
    code, shown, errors = type_command(f"folder={tmp_path}", "markdown=true", verb="results")
    assert {row["model"] for row in rows_in(shown)} == {"named", "other"}
    assert errors == f"left out: {tmp_path}/sweep.json is damaged: it should hold a JSON object, got []\n"


def test_a_word_too_many_is_an_error(type_command):
    assert type_command("--html", verb="results")[::2] == (
        1,
        "error: unrecognized arguments: --html (--help shows the options)\n",
    )
    assert "outputs should be a setting with its value" in type_command("outputs", verb="results")[2]


RESULT = {
    "task": "adding", "model": "manual_rnn", "seed": 1, "metric": "mse", "test": 0.5, "unseen": None, "chance": 0.17,
    "solved": False, "steps": 20, "steps_per_second": 10.0, "parameters": 9, "seconds": 2.0,
}  # fmt: skip


def leave(folder, config="model:\n  hidden_size: 4\n", **changes):
    """Write a run folder by hand."""
    folder.mkdir(parents=True)
    result = RESULT | {"digests": {"config.yaml": digest_of(config.encode())}} | changes
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.yaml").write_text(config)


def test_a_bad_file_is_named_and_the_others_are_shown(tmp_path, type_command):
    for number in range(7):
        leave(tmp_path / f"run{number}", model=f"model_{number}")
    (tmp_path / "run0" / "result.json").write_text('{"model": "model_0", ')
    (tmp_path / "run1" / "config.yaml").write_text("model:\n  hidden_size: 5\n")
    leave(tmp_path / "words", steps="many")
    leave(tmp_path / "large", test=10**400)
    leave(tmp_path / "negative", seconds=-1.5)
    leave(tmp_path / "endless", steps_per_second=float("inf"))
    leave(tmp_path / "numbers", versions={"torch": 2.13})
    leave(tmp_path / "list", versions=["torch"])
    (tmp_path / "run2" / "result.json").unlink()
    os.mkfifo(tmp_path / "run2" / "result.json")
    (tmp_path / "run3" / "result.json").write_text("[" * 10**5)
    leave(tmp_path / "secret", config="model: ${oc.env:HOME}\n")
    (tmp_path / "run4" / "config.yaml").unlink()
    (tmp_path / "run4" / "config.yaml").symlink_to("/etc/hostname")
    leave(tmp_path / "run\x1b[2J", seed=None)
    code, shown, errors = type_command(f"folder={tmp_path}", "markdown=true", verb="results")
    assert code == 0
    assert [line.split(" | ")[1] for line in table_in(shown)[2:]] == ["model_5", "model_6"]
    lines = errors.splitlines()
    assert len(lines) == 13
    for name, reason in {
        "run0/result.json": "is not JSON",
        "run1/config.yaml": "has changed since the run",
        "words/result.json": "steps is not as a run writes it, got 'many'",
        "large/result.json": "test is too large a number",
        "negative/result.json": "seconds is not as a run writes it, got -1.5",
        "endless/result.json": "steps_per_second is not as a run writes it, got inf",
        "numbers/result.json": "versions is not as a run writes it, got {'torch': 2.13}",
        "list/result.json": "versions is not as a run writes it, got ['torch']",
        "run2/result.json": "is not a regular file",
        "run3/result.json": "is nested too deeply",
        "secret/config.yaml": "model is an interpolation",
        "run4/config.yaml": "is a link that leads out of",
        r"run\x1b[2J/result.json": "seed is not as a run writes it, got None",
    }.items():
        (line,) = [line for line in lines if name in line]
        assert line.startswith("left out: ")
        assert reason in line
        assert line.isprintable()
    for number in (5, 6):
        (tmp_path / f"run{number}" / "result.json").write_text("")
    code, shown, errors = type_command(f"folder={tmp_path}", verb="results")
    assert (code, shown) == (1, "")
    assert errors.endswith(f"error: none of the 15 results below {tmp_path} can be shown\n")


def test_text_of_a_file_is_shown_as_text(tmp_path, type_command):
    hostile = "\x1b[2J\x07[bold red]a[/bold red]|b\nc\u202ed`<b>![x](y)\ud800\\"
    for number in (1, 2):
        config = f'"[x]\\e\\n|": "[red]{number}|"\n'
        leave(tmp_path / f"run{number}", config, model=hostile, seed=number)
    printable = r"\x1b[2J\x07[bold red]a[/bold red]|b\nc\u202ed`<b>![x](y)\ud800"
    code, shown, errors = type_command(f"folder={tmp_path}", verb="results")
    assert (code, errors) == (0, "")
    assert all(line.isprintable() for line in shown.splitlines())
    cells = [line.split("│") for line in shown.splitlines() if line.startswith("│")]
    assert printable in cells[0][2]
    assert "[red]1|" in "".join(cells[0])
    assert r"[x]\x1b\n|" in shown
    _, shown, _ = type_command(f"folder={tmp_path}", "markdown=true", verb="results")
    header, _, row, _ = table_in(shown)
    assert r"| \[x\]\\x1b\\n\| |" in header
    assert row.isprintable()
    assert r"\\x1b\[2J\\x07\[bold red\]a\[/bold red\]\|b\\nc\\u202ed\`\<b\>!\[x\](y)\\ud800\\ |" in row
    assert r"| \[red\]1\| |" in row


def test_runs_that_diverged_are_shown_last(tmp_path, type_command):
    leave(tmp_path / "a", test=0.5, validation=0.5, model="good")
    leave(tmp_path / "b", test=None, model="early", diverged_at=3, solved=False)
    _, shown, _ = type_command(f"folder={tmp_path}", "markdown=true", verb="results")
    rows = rows_in(shown)
    assert [(row["model"], row["test"], row["diverged at"]) for row in rows] == [
        ("good", "0.5", ""),
        ("early", "", "3"),
    ]
    assert "early" in type_command(f"folder={tmp_path}", verb="results")[1]
    (tmp_path / "b" / "result.json").unlink()
    assert "diverged" not in type_command(f"folder={tmp_path}", verb="results")[1]


def test_runs_of_earlier_versions_are_shown(tmp_path, type_command):
    leave(tmp_path / "a")
    result = {name: value for name, value in RESULT.items() if name != "unseen"}
    (tmp_path / "a" / "result.json").write_text(json.dumps(result))
    assert "manual_rnn" in type_command(f"folder={tmp_path}", verb="results")[1]
    (tmp_path / "a" / "config.yaml").unlink()
    assert "manual_rnn" in type_command(f"folder={tmp_path}", verb="results")[1]
