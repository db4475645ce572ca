"""The table of finished runs."""

import pytest

from seqmodels.results import main


def test_runs_are_listed_from_best_to_worst(train, tmp_path, capsys):
    short = ["trainer=smoke", "model.hidden_size=4"]
    for name, options in {"a": ["seed=1"], "b": ["seed=2"], "c": ["task=adding"]}.items():
        train(*short, *options, name=name)
    capsys.readouterr()
    main([str(tmp_path), "--markdown"])
    header, rule, *rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert set(rule) == {"---"}
    assert [row[header.index("task")] for row in rows] == ["adding", "parity", "parity"]
    accuracies = [float(row[header.index("test")]) for row in rows[1:]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {row[header.index("seed")] for row in rows[1:]} == {"1", "2"}
    main([str(tmp_path)])
    assert "parity" in capsys.readouterr().out


def test_the_mean_over_unseen_lengths_has_a_column_where_there_is_one(train, tmp_path, capsys):
    short = ["trainer=smoke", "model.hidden_size=4"]
    train(*short, "task=adding", name="seen")

    def table():
        capsys.readouterr()
        main([str(tmp_path), "--markdown"])
        header, _, *rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()]
        return [dict(zip(map(str.strip, header), map(str.strip, row), strict=True)) for row in rows]

    assert "unseen" not in table()[0]
    train(*short, "task=adding", "task.test_lengths=[5,20,30]", name="unseen")
    assert {bool(row["unseen"]) for row in table()} == {True, False}


def test_what_tells_runs_of_one_model_on_one_task_apart_has_a_column(train, tmp_path, capsys):
    short = ["trainer=smoke", "task=adding"]
    train(*short, "model.hidden_size=4", name="a")
    train(*short, "model.hidden_size=5", "seed=2", name="b")
    train(*short, "model=nn_rnn", "model.hidden_size=4", name="c")
    capsys.readouterr()
    main([str(tmp_path), "--markdown"])
    header, _, *rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    runs = [dict(zip(map(str.strip, header), map(str.strip, row), strict=True)) for row in rows]
    settings = {(run["model"], run["seed"]): run["settings"] for run in runs}
    apart = {("manual_rnn", "1"): "model.hidden_size=4", ("manual_rnn", "2"): "model.hidden_size=5"}
    assert settings == apart | {("nn_rnn", "1"): ""}


def test_a_folder_without_runs_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path)])
    assert stop.value.code == 1
    assert "found none" in capsys.readouterr().err
    for content in ("{}", '{"model": ', "[]"):
        (tmp_path / "result.json").write_text(content)
        with pytest.raises(SystemExit) as stop:
            main([str(tmp_path)])
        assert stop.value.code == 1
        assert f"expected the result of a run in {tmp_path / 'result.json'}" in capsys.readouterr().err


def test_a_word_too_many_is_an_error(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["outputs", "--html"])
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: unrecognized arguments: --html (--help says what can be given)\n"
