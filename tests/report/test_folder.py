"""The files of a run folder."""

import json

import pytest

from seqmodels.checks import UserError
from seqmodels.report.folder import check_folder, write_config, write_result


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    check_folder(tmp_path)
    write_config("seed: 1  # ü\n", tmp_path)
    assert (tmp_path / "config.yaml").read_text(encoding="utf-8") == "seed: 1  # ü\n"
    with pytest.raises(UserError, match="holds a run already"):
        check_folder(tmp_path)


def test_the_result_is_json(tmp_path):
    write_result({"test": 0.1, "claim": None}, tmp_path)
    assert json.loads((tmp_path / "result.json").read_text()) == {"test": 0.1, "claim": None}
