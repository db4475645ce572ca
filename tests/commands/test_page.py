"""`seqmodels page`, as typed."""

import re

import pytest
from report.page.tags import check_page

SHORT = ["trainer=smoke", "model.hidden_size=4", "data.batch_size=8", "task=adding"]


def test_pages_of_runs_and_of_their_comparison(train, tmp_path, type_command, capsys):
    (tmp_path / "runs").mkdir()
    for seed in (1, 2):
        train(*SHORT, f"seed={seed}", name=f"runs/seed{seed}")
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
    assert "../seed1/page.html" in found.links
    assert "../seed2" in found.links
    assert "../seed2/page.html" not in found.links
    assert found.count("script") == 1
    assert re.search("[Oo]ne result|1 result", page)  # that could not be read

    code, printed, _ = type_command("runs", "runs=true", verb="page")
    assert code == 0
    assert (tmp_path / "runs/seed2/page.html").exists()
    assert "../seed2/page.html" in (tmp_path / "runs/comparison/page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "page needs a folder"),
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
