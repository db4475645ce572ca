"""What the page of a run shows, without a run."""

import base64
import hashlib
import re

import pandas as pd
import pytest
from report.page.tags import check_page
from report.results import LENGTHS, result_with

from seqmodels.report.page.comparison import ComparisonContent, comparison_page
from seqmodels.report.page.run import RunContent, headline_of, ruler_of, run_page
from seqmodels.runs.page import checked

METRICS = pd.DataFrame({"step": range(9, 300, 10), "train_loss": 0.3, "val_loss": 0.2, "val_mse": 0.1})


def test_a_page_without_anything_but_a_name():
    found = check_page(run_page(RunContent("outputs/a/b")))
    assert "outputs/a/b" in found.text
    assert "No result" in found.text


def test_every_string_is_escaped():
    evil = "<script>alert(1)</script>\"'>&{{ 7 * 7 }}\u202e"
    result = result_with(
        model=evil, task=evil, claim=evil, metric=evil, baselines={evil: 0.2}, versions={evil: evil}, git=evil,
        parity={"layer": evil, "reference": evil, "worst": evil, "tolerance": 1, "deviations": [
            {"tensor": evil, "absolute": evil, "relative": 1.0, "note": evil}
        ]}, finished=evil,
    )  # fmt: skip
    content = RunContent(evil, checked(result, []), {evil: evil}, evil, METRICS, files=[(evil, 3)], notes=[evil])
    page = run_page(content)
    found = check_page(page)
    assert found.count("script") == 0
    assert "49" not in re.sub(r"<svg.*?</svg>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert "\u202e" not in re.sub(r"<pre>.*?</pre>", "", page)
    assert any("<script>alert(1)</script>" in text for text in found.text)


@pytest.mark.parametrize(
    ("entries", "word", "more"),
    [
        ({"solved": True}, "Solved", ""),
        ({"test": 0.5}, "Not solved", "no better than chance"),
        ({"test": 0.6}, "Not solved", "no better than chance"),
        ({"test": 0.46}, "Not solved", "hardly better than chance"),  # 8 % of the way: as the verdict of a run says
        ({"test": 0.44}, "Not solved", "It is 3 % of the way"),
        ({"test": 0.44, "verdict": "chance"}, "Not solved", "hardly better than chance"),  # a test of few sequences
        ({"test": 0.02, "verdict": "chance"}, "Not solved", "hardly better than chance"),
        ({"test": 0.0707}, "Not solved", " 50 % of the way"),  # on a logarithmic scale from 0.5 to 0.01
        ({"test": 0.0100001}, "Not solved", " 99 % of the way"),
        ({"test": 0.745, "metric": "accuracy", "solved_at": 0.99}, "Not solved", " 50 % of the way"),
        ({"diverged_at": 17, "test": 0.02}, "Diverged", "step 17"),
    ],
)
def test_the_verdict(entries, word, more):
    verdict = headline_of(checked(result_with(**entries), []))
    assert verdict["word"] == word
    assert more in verdict["more"]


def test_the_scale_orders_scores_from_worse_to_better():
    result = result_with(validation=0.012, baselines={"persistence": 0.3})
    places = {mark["name"]: mark["place"] for mark in ruler_of(result)["marks"]}
    assert 0 < places["chance"] < places["persistence"] < places["test"] < places["validation"] < places["solved"] < 100
    result = result_with(metric="accuracy", chance=0.5, solved_at=0.99, test=0.4)
    places = {mark["name"]: mark["place"] for mark in ruler_of(result)["marks"]}
    assert places["test"] < places["chance"] < places["solved"]
    assert ruler_of(result_with(metric="mse", test=0.0))["unit"] == "mse"  # no logarithm of 0
    assert ruler_of({}) is None


def test_a_page_with_lengths_and_curves():
    found = check_page(run_page(RunContent("run", result_with(**LENGTHS), metrics=METRICS)))
    assert found.count("svg") == 3
    assert "unseen" in found.text
    assert not any("cannot be drawn" in text for text in found.text)


def test_the_strings_of_a_comparison_are_escaped():
    evil = "<script>alert(1)</script>\"'>&{{ 7 * 7 }}"
    run = {"model": evil, "score": 0.5, "folder": evil, "link": f"../{evil}", "page": f"javascript:{evil}"}
    content = ComparisonContent(
        evil,
        evil,
        [evil],
        [evil],
        evil,
        ["model", "mean"],
        [[evil, "0.5 [0.4, 0.6]"]],
        dict,
        [run],
        [[evil, evil, "1"]],
    )
    page = comparison_page(content)
    found = check_page(page)
    assert found.count("script") == 1
    assert found.count("table") == 3
    assert not [link for link in found.links if link.startswith("javascript:")]
    (allowed,) = re.findall(r"script-src 'sha256-([^']+)'", page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == allowed
