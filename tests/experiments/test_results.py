"""The table of finished runs."""


def table_in(printed):
    """The lines of a Markdown table; the runs before it have printed as well."""
    return [line for line in printed.splitlines() if line.startswith("| ") and line.endswith(" |")]


def test_runs_are_listed_from_best_to_worst(train, tmp_path, type_command):
    short = ["trainer=smoke", "model.hidden_size=4"]
    for name, options in {"a": ["seed=1"], "b": ["seed=2"], "c": ["task=adding"]}.items():
        train(*short, *options, name=name)
    printed = type_command(f"folder={tmp_path}", "markdown=true", verb="results")[1]
    header, rule, *rows = [line.strip("| ").split(" | ") for line in table_in(printed)]
    assert set(rule) == {"---"}
    assert [row[header.index("task")] for row in rows] == ["adding", "parity_check", "parity_check"]
    accuracies = [float(row[header.index("test")]) for row in rows[1:]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {row[header.index("seed")] for row in rows[1:]} == {"1", "2"}
    assert "parity_check" in type_command(f"folder={tmp_path}", verb="results")[1]


def test_the_mean_over_unseen_lengths_has_a_column_where_there_is_one(train, tmp_path, type_command):
    short = ["trainer=smoke", "model.hidden_size=4"]
    train(*short, "task=adding", name="seen")

    def table():
        printed = type_command(f"folder={tmp_path}", "markdown=true", verb="results")[1]
        header, _, *rows = [line.strip("|").split("|") for line in table_in(printed)]
        return [dict(zip(map(str.strip, header), map(str.strip, row), strict=True)) for row in rows]

    assert "unseen" not in table()[0]
    train(*short, "task=adding", "task.test_lengths=[5,20,30]", name="unseen")
    assert {bool(row["unseen"]) for row in table()} == {True, False}


def test_what_tells_runs_of_one_model_on_one_task_apart_has_a_column(train, tmp_path, type_command):
    short = ["trainer=smoke", "task=adding"]
    train(*short, "model.hidden_size=4", name="a")
    train(*short, "model.hidden_size=5", "seed=2", name="b")
    train(*short, "model=nn_rnn", "model.hidden_size=4", name="c")
    printed = type_command(f"folder={tmp_path}", "markdown=true", verb="results")[1]
    header, _, *rows = [line.split("|")[1:-1] for line in table_in(printed)]
    runs = [dict(zip(map(str.strip, header), map(str.strip, row), strict=True)) for row in rows]
    settings = {(run["model"], run["seed"]): run["settings"] for run in runs}
    apart = {("manual_rnn", "1"): "model.hidden_size=4", ("manual_rnn", "2"): "model.hidden_size=5"}
    assert settings == apart | {("nn_rnn", "1"): ""}


def test_a_folder_without_runs_is_an_error(tmp_path, type_command):
    code, _, complaint = type_command("folder=.", verb="results")
    assert code == 1
    assert "found none" in complaint
    for content in ("{}", '{"model": ', "[]"):
        (tmp_path / "result.json").write_text(content)
        code, _, complaint = type_command(f"folder={tmp_path}", verb="results")
        assert code == 1
        assert complaint.startswith(f"left out: {tmp_path / 'result.json'}")
        assert complaint.endswith(f"error: none of the 1 results below {tmp_path} can be shown\n")
        assert complaint.count("\n") == 2


def test_a_word_too_many_is_an_error(type_command):
    assert type_command("--html", verb="results")[::2] == (
        1,
        "error: unrecognized arguments: --html (--help shows the options)\n",
    )
    assert "outputs should be a setting with its value" in type_command("outputs", verb="results")[2]
