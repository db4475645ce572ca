"""The verb predict: files, streams, and what it says about mistakes."""

import io
import json
import signal
import subprocess
import sys

import pandas as pd
import pytest

from seqmodels.config import compose
from seqmodels.runs.build import build
from seqmodels.runs.run import run

HEADER = "id,x,speed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a run on sequences, beside a file that it could have been trained on."""
    place = tmp_path_factory.mktemp("predict")
    rows = [f"s{i},{i % 2},{i + step % 3},{step}" for i in range(24) for step in range(2 + i % 3)]
    (place / "mine.csv").write_text("\n".join(["id,kind,x,speed", *rows]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqmodels.runs.run.draw", lambda *parts: None)
        settings = ["task=sequences", f"task.path={place / 'mine.csv'}", "task.inputs=[x,speed]", "task.id=id"]
        settings += ["task.label=kind", "trainer.max_steps=2", "parity=off", "trainer.enable_progress_bar=false"]
        (place / "run").mkdir()
        run(build(compose(*settings, "logger=none"), place / "run"), place / "run")
    return place / "run"


def type_stream(type_command, monkeypatch, folder, lines):
    text = lines if isinstance(lines, bytes) else "\n".join(lines).encode() + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    return type_command(str(folder), "-", verb="predict")


def test_a_file_is_answered_in_another_file(folder, type_command, tmp_path):
    code, shown, errors = type_command(str(folder), str(folder.parent / "mine.csv"), verb="predict")
    assert (code, errors) == (0, "")
    assert "wrote predictions.csv (24 answers)" in shown
    written, own = pd.read_csv("predictions.csv"), pd.read_csv(folder / "predictions.csv").drop(columns="target")
    assert written.set_index("id").loc[own["id"]].equals(own.set_index("id"))
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.csv"]


@pytest.mark.parametrize(
    ("lines", "words", "said"),
    [
        ([HEADER.replace("speed", "sped"), "a,1,2"], [], "got 'speed'; did you mean 'sped'?"),
        ([HEADER], [], "there are no rows in new.csv"),
        ([], [], "the first line of new.csv is empty"),
        ([HEADER, "a,1,2", "a,1,"], [], "found a gap in line 3"),
        ([HEADER, "a,1,2", "b,1,2", "a,1,2"], [], "a comes again in line 4"),
        ([HEADER, "a,1,two"], [], "found 'two' in line 2"),
        ([HEADER, "a,1,2"], ["separator=:"], "separator should be ',', ';', '\\t', '|' or ' ', got ':'"),
        ([HEADER, "a,1,2"], ["output=new.csv"], "output=new.csv would replace new.csv"),
        ([HEADER, "a,1,2"], ["output=/dev/null"], "output=/dev/null should be a file in an existing folder"),
        ([HEADER, "a,1,2"], ["output=nowhere/a.csv"], "output=nowhere/a.csv should be a file in an existing folder"),
        ([HEADER, "a,1,2"], ["checkpoint=first"], "checkpoint should be 'best', 'last' or 'previous'"),
        ([HEADER, "a,1,2"], ["threads=0"], "threads should be a positive whole number"),
    ],
)
def test_mistakes_are_one_message_and_nothing_is_written(lines, words, said, folder, type_command, tmp_path):
    (tmp_path / "new.csv").write_text("\n".join(lines))
    code, shown, errors = type_command(str(folder), "new.csv", *words, verb="predict")
    assert (code, shown) == (1, "")
    assert said in errors
    assert errors.count("error: ") == 1
    assert "task." not in errors
    assert [file.name for file in tmp_path.iterdir()] == ["new.csv"]


def test_predictions_of_the_run_are_not_replaced(folder, type_command, monkeypatch):
    file = str(folder.parent / "mine.csv")
    before = (folder / "predictions.csv").read_bytes()
    code, _, errors = type_command(str(folder), file, f"output={folder / 'predictions.csv'}", verb="predict")
    assert code == 1
    assert "would replace" in errors
    assert (folder / "predictions.csv").read_bytes() == before


@pytest.mark.parametrize("words", [[], ["run"], ["run", "a.csv", "b.csv"]])
def test_a_run_and_a_file_are_needed(words, type_command):
    code, _, errors = type_command(*words, verb="predict")
    assert code == 1
    assert "predict needs a run folder and a file" in errors


def test_no_file_of_the_run_is_replaced_and_a_stream_has_no_output(folder, type_command):
    file = str(folder.parent / "mine.csv")
    for name in ("metrics.csv", "checkpoints/best.ckpt"):
        before = (folder / name).read_bytes()
        code, _, errors = type_command(str(folder), file, f"output={folder / name}", verb="predict")
        assert code == 1
        assert "would replace" in errors
        assert (folder / name).read_bytes() == before
    code, _, errors = type_command(str(folder), "-", "output=answers.csv", verb="predict")
    assert (code, errors) == (1, "error: output is for a file: a stream is answered on standard output\n")


def test_runs_that_cannot_be_applied(train, type_command, tmp_path, folder):
    (tmp_path / "new.csv").write_text(f"{HEADER}\na,1,2\n")
    parity = train("trainer=smoke", "trainer.max_steps=1", "parity=off", name="parity")
    assert "with task=sequences or table, and this one is on parity_check" in type_command(
        str(parity), "new.csv", verb="predict"
    )[2]  # fmt: skip
    (parity / "result.json").unlink()
    assert "has no result.json" in type_command(str(parity), "new.csv", verb="predict")[2]
    assert "there is no folder nowhere" in type_command("nowhere", "new.csv", verb="predict")[2]


def test_each_line_of_a_stream_is_answered(folder, type_command, monkeypatch):
    lines = ["speed;x;more", "1,5;1;?", "2;0;?", "", "1,5;1;?"]
    code, shown, errors = type_stream(type_command, monkeypatch, folder, lines)
    assert (code, errors) == (0, "")
    answers = pd.read_csv(io.StringIO(shown))
    assert answers[["id", "step"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 1]]
    assert answers.iloc[0, 2:].equals(answers.iloc[2, 2:])  # the blank line has begun a new sequence


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([HEADER, "a,1,2", "a,1"], "line 3 of standard input: it should have 3 fields, as the header has, got 2"),
        (
            [HEADER, "a,1,two"],
            "line 2 of standard input: column 'speed' should hold a number in every row, found 'two'",
        ),
        (
            [HEADER, "a,1,2", "a,1,"],
            "line 3 of standard input: column 'speed' should hold a number in every row, found a",
        ),
        ([HEADER, "a,1,inf"], "line 2 of standard input: column 'speed' should hold a number in every row, found"),
        (
            ["id,x,sped"],
            "line 1 of standard input: there should be a column 'speed', got id, x, sped; did you mean 'sped'?",
        ),
        (["id,x,speed,x"], "line 1 of standard input: the names of columns should differ"),
        (b"", "standard input should be lines of CSV with a header, and is empty"),
        (b"id,x,speed\na,1,\xff\n", "line 2 of standard input: it is not UTF-8"),
        (b"id,x,speed\n" + b"1" * 2**21, "line 2 of standard input: it has more than 1048576 bytes"),
    ],
)
def test_a_bad_line_ends_a_stream_with_its_number(lines, said, folder, type_command, monkeypatch):
    code, _, errors = type_stream(type_command, monkeypatch, folder, lines)
    assert code == 1
    assert said in errors
    assert errors.count("error: ") == 1


def test_answers_come_before_the_stream_ends_and_ctrl_c_ends_it(folder):
    command = [sys.executable, "-m", "seqmodels", "predict", str(folder), "-"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, bufsize=0, cwd=folder.parent) as process:
        process.stdin.write(b"id,x,speed\na,1,2\n")
        assert process.stdout.readline().startswith(b"id,step,answer")
        assert process.stdout.readline().startswith(b"a,1,")
        process.stdin.write(b"a,1,2\n")
        assert process.stdout.readline().startswith(b"a,2,")
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"error: stopped by Ctrl-C\n"
        assert process.wait() == 130


def test_a_closed_pipe_ends_a_stream_quietly(folder):
    command = [sys.executable, "-m", "seqmodels", "predict", str(folder), "-"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, bufsize=0, cwd=folder.parent) as process:
        process.stdin.write(b"id,x,speed\na,1,2\n")
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"a,1,2\na,1,2\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_a_layer_of_ones_own_has_to_be_trusted(folder, type_command, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from seqmodels.layers import ManualRNN\n\n\nclass Mine(ManualRNN):\n    pass\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    file = folder.parent / "mine.csv"
    words = ["task=sequences", f"task.path={file}", "task.inputs=[x,speed]", "task.id=id", "task.label=kind"]
    words += ["model._target_=mine.Mine", "trainer.max_steps=2", "parity=off", "logger=none", "hydra.run.dir=run"]
    assert type_command(*words)[0] == 0
    code, _, errors = type_command("run", str(file), verb="predict")
    assert (code, "mine.Mine is not a layer of seqmodels" in errors) == (1, True)
    assert type_command("run", str(file), "trusted=mine", verb="predict")[0] == 0


def test_facts_are_plain_data(folder):
    facts = json.loads((folder / "result.json").read_text())["facts"]
    assert facts["reader"] == "sequences"
    assert facts["inputs"] == ["x", "speed"]
