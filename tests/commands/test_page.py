"""`seqmodels page`, as typed."""

import json
import shutil

import pandas
import pytest
from report.page.tags import check_page

from seqmodels.checks import UserError
from seqmodels.experiments.comparisons.folders import FoundRuns

SHORT = ["trainer=smoke", "model.hidden_size=4", "data.batch_size=8", "task=adding"]


def test_pages_of_runs_and_of_their_comparison(train, tmp_path, type_command, capsys):
    (tmp_path / "runs").mkdir()
    one = train(*SHORT, name="runs/seed1")
    other = shutil.copytree(one, tmp_path / "runs/seed2")
    (other / "result.json").write_text(json.dumps(json.loads((one / "result.json").read_text()) | {"seed": 2}))
    capsys.readouterr()
    code, printed, _ = type_command("runs/seed1", verb="page")
    assert (code, printed) == (0, "wrote runs/seed1/page.html\n")
    check_page((tmp_path / "runs/seed1/page.html").read_text(encoding="utf-8"))

    (tmp_path / "runs/broken").mkdir()
    (tmp_path / "runs/broken/result.json").write_text("{")
    code, printed, errors = type_command("runs", verb="page")
    assert (code, printed) == (0, "wrote runs/comparison/page.html\n")
    assert "left out: runs/broken/result.json is not JSON" in errors
    page = (tmp_path / "runs/comparison/page.html").read_text(encoding="utf-8")
    found = check_page(page)
    assert found.links.count("../seed1/page.html") == 1
    assert "../seed2" in found.links
    assert "../seed2/page.html" not in found.links
    assert found.count("script") == 1
    assert "1 result could not be read" in page


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "result.json: task is not as a run writes it, got nothing"),
        ("", "result.json is not JSON"),
        ('{"task": ', "result.json is not JSON"),
        ("[]", "result.json is damaged: it should hold a JSON object, got []"),
        ("null", "result.json is damaged: it should hold a JSON object, got null"),
        ('{"task": 3, "solved": "yes"}', "result.json: task is not as a run writes it, got 3"),
    ],
)
def test_a_damaged_result_is_named(type_command, tmp_path, content, message):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(content)
    code, printed, errors = type_command("run", verb="page")
    assert (code, printed) == (0, "wrote run/page.html\n")
    assert errors.startswith(f"warning: run/{message}")
    assert "train the run again" in errors
    page = (tmp_path / "run" / "page.html").read_text(encoding="utf-8")
    assert "Its result.json cannot be read, or is damaged." in page
    assert "Not solved" not in page


def test_pages_of_all_runs(type_command, tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    runs = pandas.DataFrame({"folder": ["runs/a", "runs/b"]})
    monkeypatch.setattr(
        "seqmodels.experiments.comparisons.folders.find_runs", lambda place: FoundRuns(runs, ["model", "task"], [], [])
    )
    monkeypatch.setattr("seqmodels.experiments.comparisons.comparison.compare", lambda runs, by, warnings: None)
    monkeypatch.setattr(
        "seqmodels.experiments.comparisons.page.write_comparison_page", lambda comparison, folder: folder / "page.html"
    )

    def write_page(folder, trusted):
        if folder.name == "a":
            raise UserError("a cannot be written")
        return folder / f"page of {trusted}"

    monkeypatch.setattr("seqmodels.runs.page.write_page", write_page)
    code, printed, errors = type_command("runs", "runs=true", "trusted=[mine]", verb="page")
    assert (code, errors) == (0, "left out: a cannot be written\n")
    assert printed == "wrote runs/b/page of ('mine',)\nwrote runs/comparison/page.html\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "page needs a run folder"),
        (["nowhere"], "there is no folder nowhere"),
        (["."], "expected finished runs in ., found none"),
        ([".", "runs=1"], "runs should be True or False, got 1"),
    ],
)
def test_a_mistake_is_one_message(type_command, words, message, tmp_path):
    code, _, errors = type_command(*words, verb="page")
    assert code == 1
    assert errors.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []
