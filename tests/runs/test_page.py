"""Pages of whole runs, and of folders that are damaged, unfinished or made by a stranger."""

import functools
import json
import re
import shutil

import pytest
import torch
import yaml
from report.page.tags import check_page

from seqmodels.batches import generator_for
from seqmodels.checks import UserError
from seqmodels.config import CONF, compose, instantiate, layer_of
from seqmodels.lens import known_of, look
from seqmodels.lens.look import is_recurrent
from seqmodels.model import SequenceModel
from seqmodels.report.page.run import RunContent, run_page
from seqmodels.runs.page import answers, content_of, sequences_of, write_page

SHORT = ["trainer=smoke", "model.hidden_size=8", "data.batch_size=16"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A short run that has written its page, which the tests copy."""
    from seqmodels.runs.build import build
    from seqmodels.runs.run import run

    folder = tmp_path_factory.mktemp("good")
    words = ["task=tomita", "model=nn_lstm", "task.test_lengths=[20,40]", "trainer.enable_progress_bar=false"]
    run(build(compose(*SHORT, *words, "logger=none", "page=true"), folder), folder)
    return folder


@pytest.fixture
def whole(good, tmp_path):
    return shutil.copytree(good, tmp_path / "run")


@pytest.fixture
def folder(whole, monkeypatch):
    """A run whose command is not looked for, which takes longer than all the rest."""
    monkeypatch.setattr("seqmodels.runs.page.command_of", lambda config: "")
    return whole


def page_of(folder):
    return write_page(folder).read_text(encoding="utf-8")


def notes_in(page):
    box = re.search(r'<div class="notes".*?</div>', page, re.DOTALL)
    return box[0] if box else ""


def change(folder, file, **entries):
    """Change a file of a run as anyone can who also removes the digests."""
    result = json.loads((folder / "result.json").read_text())
    result.pop("digests", None)
    if file == "result.json":
        result |= entries
    (folder / "result.json").write_text(json.dumps(result))
    if file == "config.yaml":
        config = yaml.safe_load((folder / file).read_text())
        for name, value in entries.items():
            group, _, key = name.partition("__")
            (config[group] if key else config)[key or group] = value
        (folder / file).write_text(yaml.safe_dump(config))


def test_the_page_of_a_whole_run(whole):
    page = (whole / "page.html").read_text(encoding="utf-8")
    found = check_page(page)
    assert notes_in(page) == ""
    titles = [text for text in found.text if text.strip()]
    for title in (
        "nn_lstm on tomita", "Loss", "Score", "Answers", "Score by length", "Hidden states", "Principal components",
        "Gradient over distance in time", "Eigenvalues of the recurrent weights", "Saturated units",
        "python train.py model=nn_lstm task=tomita trainer=smoke"[:39],
    ):  # fmt: skip
        assert any(title in text for text in titles), title
    assert "the state of the grammar&#39;s minimal automaton" in page
    assert "./checkpoints/best.ckpt" in found.links
    assert len(page) < 500_000
    assert page == page_of(whole)


def test_a_run_of_an_earlier_version_has_its_validation_score_in_metrics_csv(folder):
    result = json.loads((folder / "result.json").read_text())
    score = result.pop("validation")
    (folder / "result.json").write_text(json.dumps(result))
    assert content_of(folder).result["validation"] == pytest.approx(score)


def test_an_unfinished_run(folder):
    (folder / "result.json").unlink()
    content = content_of(folder)
    assert (content.notes, content.result, content.finished) == ([], {}, False)
    assert content.lens
    assert len(content.metrics)


@pytest.mark.parametrize(
    ("damage", "note", "left"),
    [
        (lambda f: (f / "checkpoints/best.ckpt").unlink(), "no pictures of the model: .*no best.ckpt", "metrics"),
        (lambda f: (f / "checkpoints/best.ckpt").write_bytes(b"PK"), "no pictures of the model", "result"),
        (lambda f: (f / "metrics.csv").unlink(), "There are no curves: .*no metrics.csv", "lens"),
        (lambda f: (f / "metrics.csv").write_bytes(b"\x00\xff" * 99), "There are no curves", "lens"),
        (lambda f: (f / "result.json").write_text("[" * 9999), "nested too deeply|is not JSON|JSON", "metrics"),
        (lambda f: (f / "config.yaml").write_text("a: ["), "is not plain YAML", "result"),
        (lambda f: change(f, "config.yaml", model___target_="os.system"), "os.system is not a layer", "metrics"),
        (lambda f: change(f, "config.yaml", task___target_="os.system"), "os.system is not a task", "metrics"),
        (lambda f: change(f, "config.yaml", task__length=10**12), "task.length should be at most 5000", "metrics"),
        (lambda f: change(f, "config.yaml", task__test_lengths=[*range(4, 99)]), "at most 50 entries", "metrics"),
        (lambda f: change(f, "config.yaml", task__length=3000, task__test_lengths=[3000]), "3000 steps", "metrics"),
        (lambda f: change(f, "config.yaml", task={"_target_": "seqmodels.tasks.Text", "path": "/etc/passwd"}),
         "/etc/passwd is not a file of seqmodels", "metrics"),
        (lambda f: change(f, "config.yaml", task={"_target_": "seqmodels.tasks.Adding", "length": 9}),
         "the task has input_size=2, and the model input_size=2|the task has output_size=1", "metrics"),
        (lambda f: change(f, "result.json", test="0.9", lengths=[{"length": 1}]), "test is not as", "metrics"),
        (lambda f: change(f, "result.json", chance=float("nan"), baselines={"a": 1e300}), "chance is not", "metrics"),
        (lambda f: change(f, "result.json", report={"a": [{"b": 1}, {"c": 1}]}), "report is not as", "metrics"),
        (lambda f: change(f, "result.json", details={"a": [{"b": [1]}]}), "details is not as", "metrics"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_left_out_and_a_note_says_why(folder, damage, note, left):
    damage(folder)
    content = content_of(folder)
    assert re.search(note, " ".join(content.notes)), content.notes
    assert getattr(content, left) is not None
    assert len(getattr(content, left)) if left != "lens" else content.lens


@pytest.mark.parametrize(
    ("entries", "note"),
    [
        ({"model_name": "a", "seed": "\u202e"}, "no command to reproduce the run: .* cannot be printed"),
        ({"colour": "red"}, "no command to reproduce the run: .*colour"),
    ],
)
def test_settings_that_no_command_makes(whole, entries, note):
    change(whole, "config.yaml", **entries)
    (whole / "checkpoints/best.ckpt").unlink()  # its pictures take time
    content = content_of(whole)
    assert re.search(note, " ".join(content.notes)), content.notes
    assert len(content.metrics)


def test_the_page_of_a_folder_in_which_everything_is_damaged(folder):
    for name in ("result.json", "metrics.csv", "checkpoints/best.ckpt"):
        (folder / name).write_bytes(b"\x00\xff")
    page = page_of(folder)
    check_page(page)
    assert "No result" in page
    assert "Its result.json cannot be read, or is damaged." in page
    assert "has not finished" not in page
    assert len(re.findall("<li>", notes_in(page))) == 3


def test_a_config_with_markup_in_a_value(whole):
    change(whole, "config.yaml", model_name="<script>alert(1)</script>", task_name='"><img src=x onerror=alert(1)>')
    (whole / "checkpoints/best.ckpt").unlink()  # its pictures take time
    page = page_of(whole)
    found = check_page(page)
    assert found.count("script") == found.count("img") == 0
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_very_many_rows_of_metrics_and_a_result_of_a_megabyte(folder, count):
    rows = "\n".join(f"{step},0.5,,{step % 7}" for step in range(count))
    (folder / "metrics.csv").write_text(f"step,train_loss,val_loss,val_accuracy\n{rows}\n")
    lengths = [{"length": n, "test": 0.5, "chance": 0.5, "unseen": True} for n in range(1, 15_000)]
    change(folder, "result.json", lengths=lengths)
    (folder / "checkpoints/best.ckpt").unlink()  # its pictures take time
    page = page_of(folder)
    check_page(page)
    assert "Only the first 300 of 14999 rows are shown" in page
    assert len(page) < 400_000


def test_links_are_not_followed_and_hidden_files_not_listed(folder):
    (folder / "passwords").symlink_to("/etc/passwd")
    (folder / ".lock").write_text("")
    names = {name for name, _ in content_of(folder).files}
    assert names >= {"config.yaml", "result.json", "checkpoints/best.ckpt"}
    assert not names & {"passwords", ".lock"}


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match="expected a run folder"):
        write_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_a_table_shows_what_was_read_and_the_test_in_detail(train):
    words = ["task=table", "task.path=data/sunspots.csv", "task.inputs=[sunspots]", "task.targets=[sunspots]"]
    folder = train(*words, "task.horizon=2", "task.time=year", "model=nn_rnn", "trainer.max_steps=2", "page=true")
    found = check_page((folder / "page.html").read_text(encoding="utf-8"))
    for text in ("Data", "data/sunspots.csv", "windows", "The test in detail", "root mean squared error of each step"):
        assert text in found.text, text


def test_a_run_that_diverged_writes_its_page(train, tmp_path):
    with pytest.raises(UserError, match="training diverged"):
        train(*SHORT, "page=true", "task=adding", "model=irnn", "optimizer=sgd", "optimizer.lr=1e30")
    assert "Diverged" in (tmp_path / "run" / "page.html").read_text(encoding="utf-8")


MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
TASKS = ["parity_check", "sine", "reber", "adding", "copy_memory", "digits", "co2", "dyck", "delay", "selective_copy"]
PAIRS = [(model, TASKS[place % len(TASKS)]) for place, model in enumerate(MODELS)]


@functools.cache
def looked_into(name, task_name, *words):
    """What the page shows of a model that has not been trained."""
    lengths = {"digits": [], "co2": [], "selective_copy": ["task.length=16"]}
    short = lengths.get(task_name, ["task.length=12"])
    config = compose(f"model={name}", f"task={task_name}", "model.hidden_size=8", "model.num_layers=2", *short, *words)
    task = instantiate(config.task, "task")
    torch.manual_seed(0)
    model = SequenceModel(
        layer_of(config.model), task.input_size, task.output_size, task.tokens, task.every_step
    ).eval()
    inputs, targets = sequences_of(task, 1)
    lens = look(model, inputs, targets, known_of(task, inputs, targets))
    return model, task, lens


MATRIX_STATES = {
    "linear_attention",
    "retnet",
    "gla",
    "delta_net",
    "gated_delta_net",
    "delta_product",
    "mamba2",
    "mlstm",
    "rwkv7",
}
WITHOUT_RECURRENT_WEIGHTS = MATRIX_STATES | {"mamba", "min_gru", "min_lstm", "s4d", "tcn", "transformer"}
WITHOUT_BOUNDED_GATES = {"gla", "linear_attention", "lru", "mamba", "mamba2", "retnet", "s4d", "tcn", "transformer"}


@pytest.mark.parametrize(("name", "task_name"), PAIRS)
def test_the_lens_works_for_every_model(name, task_name):
    model, _, lens = looked_into(name, task_name)
    assert lens.states.isfinite().all()
    assert lens.components.places.isfinite().all()
    assert lens.gradients[~lens.gradients.isnan()].isfinite().all()
    assert lens.gradients[:, 0].nansum() > 0
    assert lens.known.values.shape == lens.components.places.shape[:2]
    assert bool(lens.spectra) == (name not in WITHOUT_RECURRENT_WEIGHTS)
    assert bool(lens.saturation) == (name not in WITHOUT_BOUNDED_GATES)
    assert is_recurrent(model) == (name not in ("tcn", "transformer"))


DRAWN = [pair if place % 8 == 0 else pytest.param(*pair, marks=pytest.mark.slow) for place, pair in enumerate(PAIRS)]


@pytest.mark.parametrize(("name", "task_name"), DRAWN)
def test_the_page_of_every_model_and_of_every_kind_of_task(name, task_name):
    model, task, lens = looked_into(name, task_name)
    page = run_page(
        RunContent("run", predictions=(task, *answers(model, task, 1, 16)), lens=lens, recurrent=is_recurrent(model))
    )
    found = check_page(page)
    assert "cannot be drawn" not in page
    figures = 4 + task.every_step + bool(lens.spectra) + bool(lens.saturation)
    assert found.count("svg") == figures


def test_a_bidirectional_stack_is_looked_into():
    _, _, lens = looked_into("manual_gru", "parity_check", "model.bidirectional=true")
    assert len(lens.spectra) == 12
    assert len(lens.saturation) == 12


def test_the_sequences_looked_at_have_a_length_of_training():
    task = instantiate(compose("task=temporal_order").task, "task")
    assert sequences_of(task, 0)[0].shape == (64, 100)
    task = instantiate(compose("task=parity_check").task, "task")
    assert torch.equal(sequences_of(task, 3)[0], task.draw(64, 40, generator_for(3, "test", 0)))
