"""Sweeps: each run has a folder that follows from its settings, is done once, and ends no other when it fails."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import processes_below, until
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from seqmodels.config import CONF, compose
from seqmodels.config.identity import decisive, identity
from seqmodels.experiments.sweeps import jobs, sweep
from seqmodels.experiments.sweeps.jobs import has_writer
from seqmodels.experiments.sweeps.progress import SweepProgress, console_of_sweep, duration, last_row
from seqmodels.experiments.sweeps.sweep import Composer, Run, Sweep, share_cores

ROOT = Path(__file__).parents[2]
TINY = ["trainer.max_steps=20", "model.hidden_size=4", "data.batch_size=4", "data.eval_batches=1", "logger=none"]


def sweep_in(folder):
    """The content of the only sweep.json below a folder."""
    (file,) = folder.glob("outputs/sweeps/*/sweep.json")
    return json.loads(file.read_text())


def states(folder):
    return [run["state"] for run in sweep_in(folder)["runs"]]


def folders(folder):
    (file,) = folder.glob("outputs/sweeps/*/sweep.json")
    return [(file.parent / run["folder"]).resolve() for run in sweep_in(folder)["runs"]]


def snapshot(folder):
    """When each file of the runs below a folder was changed, and its content."""
    files = [file for file in folder.rglob("*") if file.is_file() and "sweeps" not in file.parts]
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def without_times(result):
    return {name: value for name, value in result.items() if name not in ("seconds", "steps_per_second", "finished")}


def test_a_sweep_is_done_once_and_its_numbers_are_those_of_single_runs(type_command, tmp_path):
    words = ["-m", "model=manual_rnn,nn_gru", "seed=1,2", "task=adding", "jobs=2", "baseline=nn_gru", *TINY]
    code, shown, complaint = type_command(*words)
    assert (code, complaint) == (0, "")
    assert "[4/4] " in shown
    (compared,) = tmp_path.glob("outputs/sweeps/*/comparison/comparison.csv")
    assert [(row["model"], row["pairs"]) for row in csv.DictReader(compared.read_text().splitlines())] == [
        ("manual_rnn", "2.0"), ("nn_gru", ""),
    ]  # fmt: skip
    assert states(tmp_path) == ["done"] * 4
    assert {folder.relative_to(tmp_path).parts[:3] for folder in folders(tmp_path)} == {
        ("outputs", "adding", "manual_rnn"), ("outputs", "adding", "nn_gru"),
    }  # fmt: skip
    assert not list(tmp_path.rglob("multirun.yaml"))
    assert sweep_in(tmp_path)["command"] == f"python train.py {' '.join(words)}"

    before = snapshot(tmp_path)
    code, shown, complaint = type_command(*words)
    assert (code, complaint) == (0, "")
    assert "4 of 4 runs have finished already" in shown
    assert snapshot(tmp_path) == before

    assert type_command("model=nn_gru", "seed=2", "task=adding", *TINY, "hydra.run.dir=single")[0] == 0
    ours, single = folders(tmp_path)[3], tmp_path / "single"
    for name in ("config.yaml", "metrics.csv"):
        assert (ours / name).read_bytes() == (single / name).read_bytes()
    ours, single = (json.loads((folder / "result.json").read_text()) for folder in (ours, single))
    assert without_times(ours) | {"digests": None} == without_times(single) | {"digests": None}
    assert ours["digests"]["config.yaml"] == single["digests"]["config.yaml"]


def test_mistakes_of_some_runs_do_not_stop_the_others(type_command, tmp_path):
    code, shown, complaint = type_command("-m", "model=manul_rnn,manual_rnn", "model.dropout=0,2", "seed=1,2", *TINY)
    assert code == 1
    assert complaint.splitlines() == [
        next(line for line in complaint.splitlines() if line.startswith("error: [model=manul_rnn")),
        "error: [model=manual_rnn model.dropout=2 seed=1 and 1 more] model.dropout=2: "
        "dropout should be a probability between 0 and 1, got 2",
        "error: 6 of 8 runs failed",
    ]
    assert "seed=1 and 3 more] model=manul_rnn: there is no such model; did you mean 'manual_rnn'?" in complaint
    assert sorted(states(tmp_path)) == ["done"] * 2 + ["failed"] * 6
    assert "[2/2]" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=1,2", "optimizer.lr=fast"], "optimizer.lr=fast: lr should be a number or Tensor, got 'fast'"),
        (["seed=1,2", "modle=nn_rnn"], "modle is not a setting; did you mean 'model'?"),
        (["seed=1,2", "trainer.devices=2"], "-m trains each run in one process, but trainer.devices asks for several"),
        (["seed=1,2", "jobs=0"], "jobs should be a positive whole number, got 0"),
        (["seed=1,2", "jobs=1.5"], "jobs should be a positive whole number, got 1.5"),
        (["seed=1,2", "jobs=1000"], "jobs=1000 with threads=1 would need 1000 cores, and there are"),
        (["seed=1,2", "hydra.sweep.subdir=x"], "the folder of a run below hydra.sweep.dir follows from its settings"),
        (["seed=1,2", "hydra/launcher=jolib"], "no such hydra/launcher; did you mean 'joblib'?"),
        (["seed=1,2", "launcher=slurm", "threads=auto"], "threads should be a number on other machines"),
        (["seed=1,2", "launcher=slrm"], "launcher=slrm: there is no such launcher; did you mean 'slurm'?"),
        (["launcher=slurm,joblib"], "launcher should have one value, for the whole sweep"),
        (["seed=1,2", "jobs=1,2"], "jobs=1,2: jobs should have one value, for the whole sweep"),
        (["seed=range(5,1)"], "seed=range(5,1) has no values"),
        (["seed=range(1,10000000)"], "expected at most 100,000 runs in one sweep"),
        (["optimizer.lr=interval(0,1)"], "optimizer.lr=interval(0,1): an interval is no list of values"),
        (["sweep=null"], "sweep=null: sweep should be one name"),
        (["model=nn_lstm", "match=2"], "model=nn_lstm cannot be as small as 2 parameters: on task=parity_check it has"),
        (["seed=1,,2"], "seed=1,,2 cannot be read: ',' is not expected where it stands (text with special characters"),
        (["seed=[1"], "seed=[1 cannot be read: a bracket is not closed"),
        (["task='adding"], "task='adding cannot be read: a quote is not closed"),
        (["sweep=frist"], "sweep=frist: there is no such sweep; did you mean 'first'?"),
        (["sweep=first,eight_tasks"], "sweep should have one value"),
        (["model=nn_rnn,nn_gru", "baseline=nn_rnm"], "one of the values that are compared, got nn_rnm; did you mean"),
        (["optimizer.lr=0.1,0.2", "baseline=[0.1,0.2]"], "one of the values that are compared, got [0.1, 0.2]"),
        (["--config-dir", "my_conf", "sweep=empty"], "sweep=empty: expected settings to sweep under hydra.sweeper"),
        (
            ["--config-dir", "my_conf", "sweep=list"],
            "sweep/list.yaml: Cannot merge DictConfig with ListConfig; exp",
        ),
        (["--config-dir", "my_conf", "sweep=broken"], "my_conf/sweep/broken.yaml, line 2: this is not YAML: expected"),
    ],
)
def test_a_mistake_of_the_whole_sweep_is_said_once_and_leaves_nothing_behind(words, message, type_command, tmp_path):
    (tmp_path / "my_conf" / "sweep").mkdir(parents=True)
    files = {
        "empty": "trainer: {max_steps: 20}", "list": "hydra: {sweeper: {params: [a]}}", "broken": "hydra: {sweeper: [",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / "my_conf" / "sweep" / f"{name}.yaml").write_text(f"# @package _global_\n{content}")
    code, _, complaint = type_command("-m", *words)
    assert code == 1
    assert message in complaint
    assert complaint.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["my_conf"]


def test_a_file_that_hydra_would_not_read_is_refused(type_command, tmp_path):
    (tmp_path / "my_conf" / "sweep").mkdir(parents=True)
    (tmp_path / "my_conf" / "sweep" / "first.yaml").write_text("# @package _global_\njobs: 1\n")
    code, _, complaint = type_command("--config-dir", "my_conf", "sweep=first")
    assert code == 1
    assert "first.yaml would not be read, because sweep/first.yaml exists in the package's conf/: rename" in complaint


def test_sweep_files_with_other_letters_have_folders_of_their_own(type_command, tmp_path):
    (tmp_path / "my_conf" / "sweep").mkdir(parents=True)
    content = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: 'range(1,2)'}}}\n"
    for name in ("größe", "grüße", "plain"):
        (tmp_path / "my_conf" / "sweep" / f"{name}.yaml").write_text(content)
        assert type_command("--config-dir", "my_conf", f"sweep='{name}'", *TINY)[0] == 0
    folders = {folder.name for folder in (tmp_path / "outputs" / "sweeps").iterdir()}
    assert len(folders) == 3


def test_a_run_to_be_resumed_is_no_sweep(type_command, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    code, _, complaint = type_command("-m", f"resume={tmp_path}", "seed=1,2")
    assert code == 1
    assert "resume= continues one run in its own folder: leave out -m" in complaint


def test_a_sweep_file_is_run_by_its_name_and_typed_words_win(type_command, tmp_path):
    (tmp_path / "my_conf" / "sweep").mkdir(parents=True)
    (tmp_path / "my_conf" / "sweep" / "mine.yaml").write_text(
        "# @package _global_\ntrainer: {max_steps: 900}\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {model: 'nn_rnn,nn_gru', seed: 'range(1,3)'}}}\n"
    )
    words = ["--config-dir", "my_conf", "sweep=mine"]
    assert type_command(*words, *TINY, "model=nn_lstm", "jobs=1")[0] == 0
    assert states(tmp_path) == ["done"] * 2
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert folder.name.startswith("mine-")
    result = json.loads((folders(tmp_path)[0] / "result.json").read_text())
    assert (result["model"], result["steps"], result["seed"]) == ("nn_lstm", 20, 1)


@pytest.mark.parametrize("file", sorted((CONF / "sweep").glob("*.yaml")), ids=lambda file: file.stem)
def test_each_run_of_a_sweep_file_composes(file):
    params = OmegaConf.load(file).hydra.sweeper.params
    for name in ("model", "task"):
        for value in params[name].replace(" ", "").split(","):
            composed = compose(f"sweep={file.stem}", f"{name}={value}")[f"{name}_name"]
            assert composed.partition("+")[0] == value  # a model inside blocks is named after both


def test_a_failed_run_ends_no_other_and_is_tried_again(type_command, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from torch import nn\nclass Broken(nn.RNN):\n    calls = 0\n"
        "    def forward(self, *inputs):\n        self.calls += 1\n"
        "        if self.calls > 9:\n            raise ValueError('this layer is broken')\n"
        "        return super().forward(*inputs)\n"
    )
    words = ["-m", "model._target_=torch.nn.RNN,broken.Broken", "~model.backend", "parity=off", *TINY]
    code, _, complaint = type_command(*words)
    assert code == 1
    assert "error: [model._target_=broken.Broken] the run failed with ValueError: this layer is broken" in complaint
    assert states(tmp_path) == ["done", "failed"]
    assert "ValueError: this layer is broken" in (folders(tmp_path)[1] / "log.txt").read_text()
    done = snapshot(folders(tmp_path)[0])

    broken.write_text("from torch import nn\nclass Broken(nn.RNN):\n    pass\n")
    code, shown, complaint = type_command(*words)
    assert (code, complaint) == (0, "")
    assert "1 of 2 runs have finished already" in shown
    assert states(tmp_path) == ["done", "done"]
    assert snapshot(folders(tmp_path)[0]) == done


def test_a_run_that_diverged_is_a_result(type_command, tmp_path):
    words = ["task=adding", "model.nonlinearity=relu", "optimizer=sgd", "trainer.gradient_clip_val=null", "seed=1,2"]
    words += ["optimizer.lr=1e30", "trainer.max_steps=20", "logger=none"]
    for number in range(2):
        code, shown, complaint = type_command("-m", *words)
        assert (code, complaint) == (0, "")
        assert "diverged at step 2" in shown
        assert states(tmp_path) == ["done", "done"]
        assert ("2 of 2 runs have finished already" in shown) is bool(number)


def test_what_stands_in_the_place_of_a_run_is_left_alone(type_command, tmp_path):
    words = ["-m", "seed=1,2,3,4", *TINY]
    composer = Composer()
    places = jobs_places(composer, [*TINY], range(1, 5), tmp_path)
    for place in places[:3]:
        place.mkdir(parents=True)
    OmegaConf.save(composer.config((*TINY, "seed=7")), places[0] / "config.yaml")
    OmegaConf.save(composer.config((*TINY, "seed=2")), places[1] / "config.yaml")
    (places[1] / "result.json").write_text("{")
    (places[2] / "notes.txt").write_text("foreign")
    places[3].write_text("a file")
    before = snapshot(tmp_path)
    code, _, complaint = type_command(*words)
    assert code == 1
    assert f"{places[0]} contains a run with another config" in complaint
    assert f"{places[1] / 'result.json'} is not JSON" in complaint
    assert "to repeat the run, remove its folder and start the sweep again" in complaint
    assert f"{places[3]}" in complaint
    assert states(tmp_path) == ["failed", "failed", "done", "failed"]
    assert {file: snapshot(tmp_path)[file] for file in before} == before


def jobs_places(composer, words, seeds, root):
    from seqmodels.experiments.sweeps.sweep import placed

    runs = [composer.run(f"seed={seed}", (*words, f"seed={seed}")) for seed in seeds]
    return [run.folder for run in placed(runs, root / "outputs")]


def test_a_corrupt_sweep_json_is_written_anew(type_command, tmp_path):
    words = ["-m", "seed=1", *TINY]
    assert type_command(*words)[0] == 0
    (file,) = tmp_path.glob("outputs/sweeps/*/sweep.json")
    file.write_text("{")
    assert type_command(*words)[0] == 0
    assert states(tmp_path) == ["done"]


def test_two_sweeps_wait_for_each_others_runs(type_command, tmp_path, monkeypatch):
    """Another process holds the run of seed 1 at first, and has not finished it when it ends."""
    (place,) = jobs_places(Composer(), TINY, [1], tmp_path)
    place.mkdir(parents=True)
    script = "import sys, time; from pathlib import Path; from seqmodels.files import only_writer\n"
    script += f"with only_writer(Path({str(place)!r})):\n    print('locked', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == "locked\n"
        assert has_writer(place)
        original = jobs.settle

        def settle(ended, *rest):
            original(ended, *rest)
            if ended.run.name == "seed=2":
                assert has_writer(place)
                other.stdin.close()

        monkeypatch.setattr(jobs, "settle", settle)
        code, shown, complaint = type_command("-m", "seed=1,2", *TINY, "jobs=1")
    assert (code, complaint) == (0, "")
    assert shown.index("[1/2] seed=2") < shown.index("[2/2] seed=1")


def test_a_sweep_that_runs_already_is_not_started_again(type_command, tmp_path):
    words = ["-m", "seed=1", *TINY]
    assert type_command(*words)[0] == 0
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    script = "from pathlib import Path; from seqmodels.files import only_writer\n"
    script += f"with only_writer(Path({str(folder)!r})):\n    print('locked', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == "locked\n"
        code, _, complaint = type_command(*words)
        other.communicate("\n")
    assert code == 1
    assert f"this sweep is already running in another process ({folder})" in complaint


def test_what_cannot_change_a_number_does_not_change_the_folder():
    config = compose("task=adding")
    same = ["checkpoint.steps=3", "data.num_workers=2", "parity=off", "logger=none", "page=true", "jobs=2", "seed=9"]
    same += ["trainer.enable_progress_bar=false", "baseline=nn_rnn", "experiment=parity_curriculum"]
    for word in same[:-1]:
        assert identity(compose("task=adding", word)) == identity(config), word
    for word in ("trainer.max_steps=9", "threads=auto", "embedding_size=4", "task.length=9", "optimizer.lr=0.1"):
        assert identity(compose("task=adding", word)) != identity(config), word
    assert identity(compose("task=adding", "model.dropout=0")) == identity(compose("task=adding", "model.dropout=0.0"))
    assert identity(compose("task=adding", "trainer.gradient_clip_val=1")) == identity(config)
    limit = "trainer.limit_val_batches=1"
    assert identity(compose("task=adding", limit)) != identity(compose("task=adding", f"{limit}.0"))
    assert identity(OmegaConf.create(OmegaConf.to_yaml(config))) == identity(config)
    assert "seed" in decisive(config)


def test_the_cores_are_shared_out(monkeypatch):
    def runs(*threads):
        configs = [OmegaConf.create({"threads": number, "data": {"num_workers": 0}}) for number in threads]
        return [Run("a run", (), config) for config in configs]

    monkeypatch.setattr(sweep, "available_cores", lambda: 8)
    assert share_cores(None, runs(1, 1)) == 8
    assert share_cores(None, runs(1, 3)) == 2
    equal = runs("auto", "auto")
    assert share_cores(3, equal) == 3
    assert [run.config.threads for run in equal] == [2, 2]
    assert share_cores(4, runs(2)) == 4
    (with_workers,) = runs(1)
    with_workers.config.data.num_workers = 3
    assert share_cores(None, [with_workers]) == 2


def test_the_last_row_of_metrics_is_read_even_while_it_is_written(tmp_path):
    file = tmp_path / "metrics.csv"
    assert last_row(file) == (0, "")
    file.write_text("step,train_loss,val_accuracy,val_loss\n49,0.5,,\n99,,0.75,0.4\n149,0.3,,\n19")
    assert last_row(file) == (150, "val_accuracy 0.75")
    file.write_bytes(b"step\n" + bytes(range(256)))
    assert last_row(file)[1] == ""


@pytest.mark.parametrize(
    ("environment", "live"),
    [
        ({"COLUMNS": "0", "LINES": "0", "TERM": "xterm"}, True),
        ({"COLUMNS": "80", "TERM": "dumb"}, False),
    ],
)
def test_a_terminal_of_unknown_size_still_shows_the_runs(environment, live, monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr(output, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", output)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    console = console_of_sweep()
    assert console.width == 80
    run = Run("seed=1", (), None)
    with SweepProgress(Sweep(Path(), "", [run]), 1, console) as shown:
        shown.show()
        assert ("1 waiting" in output.getvalue()) is live


def test_a_time_is_said_in_words():
    assert [duration(seconds) for seconds in (40, 200, 7500)] == ["40 s", "3 min", "2 h 5 min"]


def start(words, folder, **others):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, **others,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_stopped_goes_on_and_ends_with_the_same_bits(stop, tmp_path):
    words = ["-m", "model=manual_rnn,nn_gru", "seed=1,2", "task=adding", "task.length=30", "logger=none", "jobs=2"]
    words += ["trainer.max_steps=1000", "trainer.val_check_interval=100", "checkpoint.steps=20", "data.num_workers=1"]
    for name in ("stopped", "whole"):
        (tmp_path / name).mkdir()
    with start(words, tmp_path / "whole") as whole:
        assert whole.wait(300) == 0, whole.stdout.read()

    stopped = tmp_path / "stopped"
    for number in range(2):
        with start(words, stopped) as sweep:
            least = number + 1
            until(lambda least=least: len(list(stopped.rglob("result.json"))) >= least and processes_below(stopped))
            time.sleep(1)
            finished = [file.parent for file in stopped.rglob("result.json")]
            before = {folder: snapshot(folder) for folder in finished}
            sweep.send_signal(stop)
            assert sweep.wait(100) == (-stop if stop == signal.SIGKILL else 128 + stop)
            if stop != signal.SIGKILL:
                assert "the same command continues the sweep" in sweep.stdout.read()
                assert not processes_below(stopped)
                messages = {run["message"] for run in sweep_in(stopped)["runs"] if run["state"] == "interrupted"}
                assert messages == {"stopped by Ctrl-C" if stop == signal.SIGINT else "stopped by SIGTERM"}
        until(lambda: not processes_below(stopped))
        assert {folder: snapshot(folder) for folder in finished} == before
    with start(words, stopped) as sweep:
        assert sweep.wait(300) == 0, sweep.stdout.read()
    assert states(stopped) == ["done"] * 4
    for ours, theirs in zip(folders(stopped), folders(tmp_path / "whole"), strict=True):
        assert (ours / "metrics.csv").read_bytes() == (theirs / "metrics.csv").read_bytes()
        results = [without_times(json.loads((folder / "result.json").read_text())) for folder in (ours, theirs)]
        assert results[0] | {"digests": None} == results[1] | {"digests": None}


def test_a_launcher_that_is_not_installed_is_named(type_command, monkeypatch):
    Plugins.instance()
    known = ConfigStore.instance().repo["hydra"]["launcher"]
    for name in ("submitit_slurm.yaml", "joblib.yaml"):
        monkeypatch.delitem(known, name, raising=False)
    for launcher, extra in (("slurm", "submitit"), ("joblib", "joblib")):
        code, _, complaint = type_command("-m", "seed=1,2", f"launcher={launcher}")
        assert code == 1
        assert complaint.endswith(f" needs a package that is not installed: pip install 'seqmodels[{extra}]'\n")


def test_a_launcher_is_for_sweeps_and_does_not_change_their_folders(type_command, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    code, _, complaint = type_command("launcher=slurm")
    assert code == 1
    assert "a launcher starts the runs of a sweep, and this is a single run: add -m" in complaint
    assert not list(tmp_path.iterdir())
    assert "launcher" not in compose("launcher=slurm")
    assert identity(compose("launcher=slurm")) == identity(compose())


LAUNCHERS = {
    "joblib": ["jobs=2"],
    "submitit": ["hydra.launcher.timeout_min=5"],
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_of_hydra_do_the_missing_runs(launcher, tmp_path):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    with start(["-m", "seed=1", *TINY], tmp_path) as sweep:
        assert sweep.wait(200) == 0
    before = snapshot(tmp_path)
    words = ["-m", "seed=1,2", "model.dropout=0,7", *TINY, f"launcher={launcher}", *LAUNCHERS[launcher]]
    with start(words, tmp_path) as sweep:
        shown, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 1
    assert "1 of 4 runs have finished already" in shown
    assert "error: [seed=1 model.dropout=7 and 1 more] model.dropout=7: dropout should be a probability" in shown
    assert {file: snapshot(tmp_path)[file] for file in before} == before
    assert len(list(tmp_path.rglob("result.json"))) == 2


SBATCH = """#!/bin/sh
cp "$1" "$SEQMODELS_DRY_RUN/script.sh"
echo "this is a dry run" >&2
exit 1
"""


@pytest.mark.slow
def test_the_script_for_slurm_asks_for_what_the_runs_need(tmp_path, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun", "squeue", "sacct"):
        (programs / name).write_text(SBATCH)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SEQMODELS_DRY_RUN", str(tmp_path))
    words = ["-m", "seed=1,2,3", *TINY, "launcher=slurm", "threads=2", "jobs=1"]
    words += ["hydra.launcher.partition=short", "hydra.launcher.timeout_min=30"]
    with start(words, tmp_path) as sweep:
        shown, _ = sweep.communicate(timeout=200)
    assert sweep.returncode == 1
    assert "hydra/launcher=submitit_slurm: " in shown
    assert "this is a dry run" in shown
    script = (tmp_path / "script.sh").read_text()
    for line in ("--array=0-2%1", "--cpus-per-task=2", "--partition=short", "--time=30", "--mem=4GB"):
        assert f"#SBATCH {line}\n" in script
    assert f"{tmp_path}/outputs/sweeps/seed-" in script
