"""The files of a run folder."""

import hashlib
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


def test_the_result_is_json_and_holds_the_digest_of_the_config(tmp_path):
    write_config("seed: 1\n", tmp_path)
    write_result({"test": 0.1, "claim": None}, tmp_path)
    digest = hashlib.sha256(b"seed: 1\n").hexdigest()
    expected = {"test": 0.1, "claim": None, "digests": {"config.yaml": digest}}
    assert json.loads((tmp_path / "result.json").read_text()) == expected
