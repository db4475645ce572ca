"""A user's mistakes: one clear message, exit code 1, no stack trace, and nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import seqmodels
from seqmodels.checks import UserError, nearest
from seqmodels.config import CONF, compose
from seqmodels.config.experiment import claim_of

ROOT = Path(__file__).parents[2]

MISTAKES = {
    "model=manul_rnn": ["no such model", "did you mean 'manual_rnn'?"],
    "task=partiy_check": ["no such task", "did you mean 'parity_check'?"],
    "task=parity": ["no such task", "'parity' is now called 'parity_check'"],
    "model=lstm": ["no such model", "'manual_lstm'", "'nn_lstm'"],
    "model.backend=fused": ["'fused' is now called 'bptt'"],
    "model.backend=loop": ["'loop' is now called 'autograd'"],
    "optimizer=adan": ["no such optimizer", "did you mean 'adam'?"],
    "experiment=copy_guess": ["'copy_guess' is now called 'copy_chance'"],
    "experiment=nothing": ["no such experiment"],
    "modle=nn_rnn": ["modle", "did you mean 'model'?"],
    "model.hiden_size=3": ["model.hiden_size", "did you mean 'hidden_size'?"],
    "trainer.max_step=3": ["did you mean 'max_steps'?"],
    "sed=3": ["did you mean 'seed'?"],
    "+model.hiden_size=3": ["model.hiden_size", "did you mean 'hidden_size'?"],
    "+optimizer.lrr=3": ["optimizer.lrr", "did you mean 'lr'?"],
    "+data.batchsize=3": ["batchsize"],
    "+sede=3": ["sede", "did you mean 'seed'?"],
    "model.hidden_size=abc": ["model.hidden_size=abc", "whole number", "'abc'"],
    "model.hidden_size=2.5": ["model.hidden_size=2.5", "whole number"],
    "model.hidden_size=-1": ["model.hidden_size=-1", "positive whole number"],
    "model.hidden_size=null": ["model.hidden_size", "whole number"],
    "model.num_layers=0": ["model.num_layers=0", "positive whole number"],
    "model.nonlinearity=sigmoid": ["model.nonlinearity=sigmoid", "'tanh' or 'relu'"],
    "model.nonlinearity=tahn": ["did you mean 'tanh'?"],
    "model.bias=maybe": ["model.bias=maybe", "true or false"],
    "model.batch_first=false": ["model.batch_first", "batch_first should be true"],
    "model.dropout=2": ["model.dropout=2", "between 0 and 1"],
    "model._target_=torch.nn.RNNN": ["torch.nn.RNNN", "did you mean 'RNN'?"],
    "model._target_=nowhere.RNN": ["nowhere.RNN", "cannot be imported", "PYTHONPATH"],
    "task.length=0": ["task.length=0", "should be a positive whole number, got 0"],
    "task.length=forty": ["task.length=forty"],
    "task.length=[9,3]": ["[shortest, longest], got [9, 3]"],
    "task.test_length=-1": ["task.test_length=-1", "got -1"],
    "task.test_lengths=[]": ["task.test_lengths=[]", "a list of lengths such as [40, 80]"],
    "task.test_lengths=[40,0]": ["task.test_lengths=[40, 0]", "should be a positive whole number, got 0"],
    "task.test_lengths=[40,40]": ["task.test_lengths=[40, 40]", "name each length once"],
    "task.test_lengths=[40,x]": ["task.test_lengths=[40, 'x']", "'x'"],
    "task.test_lengths=40": ["task.test_lengths=40"],
    "task.test_lenghts=[40]": ["did you mean 'test_lengths'?"],
    "+task.test_lenghts=[40]": ["task.test_lenghts", "did you mean 'test_lengths'?"],
    "task.mixed_lengths=perhaps": ["task.mixed_lengths=perhaps", "true or false"],
    "optimizer.lr=fast": ["optimizer.lr=fast", "'fast'"],
    "optimizer.lr=-1": ["optimizer", "-1"],
    "optimizer.betas=[2,3]": ["optimizer", "2"],
    "trainer.max_steps=many": ["trainer.max_steps", "'many'"],
    "trainer.max_steps=0": ["trainer.max_steps", "got 0"],
    "trainer.val_check_interval=0": ["trainer.val_check_interval", "got 0"],
    "trainer.precision=33": ["trainer.precision=33"],
    "trainer.accelerator=abacus": ["trainer.accelerator=abacus"],
    "seed=lucky": ["seed", "'lucky'"],
    "seed=-4": ["seed", "-4"],
    "parity=of": ["parity should be 'off' or 'on'", "did you mean 'off'?"],
    "embedding_size=0": ["embedding_size", "got 0"],
    "data.batch_size=0": ["data.batch_size=0"],
    "data.num_workers=-1": ["data.num_workers=-1"],
    "data.batch_size=big": ["data.batch_size=big"],
    "task=csv": ["task.path", "task.path=..."],
    "model": ["model"],
    "model=null": ["model should be one name"],
    "model.batch_first=null": ["model.batch_first"],
    "+model.input_size=7": ["model.input_size is set by the program"],
    "lr=3": ["did you mean 'optimizer.lr'?"],
    "hidden_size=3": ["did you mean 'model.hidden_size'?"],
    "data=5": ["data should"],
    "task._target_=seqmodels.tasks.parity": ["no class named parity"],
    "task._target_=builtins.dict": ["task"],
    "model._target_=RNN": ["expected module.Class"],
    "model._target_=torch.nn.GRU": ["~model.nonlinearity leaves it out"],
    "trainer.limit_val_batches=0": ["trainer.limit_val_batches should leave at least one"],
    "trainer.limit_test_batches=0.01": ["trainer.limit_test_batches should leave at least one"],
    "optimizer.lr=1e39": ["optimizer"],
    "trainer=gpu": ["gpu"],
    "--hlep": ["unrecognized arguments: --hlep"],
    "~seed": ["seed cannot be left out"],
    "~model": ["model cannot be left out"],
    "seed=1,2": ["seed=1,2: several runs, one for each value, need -m", "seed=[1,2]"],
    "hydra.sweep.dir=x": ["hydra.sweep.dir=x: a single run (without -m) does not use it", "hydra.run.dir"],
    "threads=0": ["threads should be a whole number from 1 to", "or 'auto' for all cores, got 0"],
    "threads=all": ["'auto' for all cores, got 'all'"],
    "threads=100000": ["threads should be a whole number from 1 to", "got 100000"],
    "trainer.devices=0": ["trainer.devices should be a positive whole number, got 0"],
    "+trainer.strategy=ddp_spawn": ["trainer.strategy should be 'ddp', got 'ddp_spawn'"],
    "+trainer.num_nodes=2": ["trainer.num_nodes above 1 needs torchrun or srun"],
    "~foo": ["foo is not a setting"],
    "~model.hiden": ["model.hiden is not a setting"],
    "~trainer.max_steps": ["trainer.max_steps"],
    "~model.hidden_size": ["model.hidden_size is needed"],
    "+data.foo=1": ["data.foo is not a setting"],
    "model=[manual_rnn]": ["model should be one name"],
    "model_name=x": ["model_name follows from model, and cannot be set"],
    "trainer=Smok": ["did you mean 'smoke'?"],
    "nn_rnn": ["such as model=nn_rnn"],
    "model.hidden_size=[1": ["[1"],
    "model=gla model.heads=3": ["hidden_size=64 times expand_k=0.5 should be a multiple of heads=3"],
    "model=gla model.expand_v=nan": ["model.expand_v=nan: expand_v should be a finite number, got nan"],
    "model=gla model.heads=0": ["model.heads=0", "positive whole number"],
    "model=gla model.chunk=0": ["model.chunk=0", "positive whole number"],
    "model=gla model.chunk=12": ["model.chunk=12", "power of two"],
    "model=delta_net model.eigenvalues=[0,2]": ["model.eigenvalues=[0, 2]", "should be [0, 1] or [-1, 1], got [0, 2]"],
    "model=delta_net model.kernel_size=1": ["model.kernel_size=1", "a whole number of at least 2, got 1"],
    "model=transformer block=prenorm": ["Transformer is made of blocks already: use it with block=none"],
    "block.num_blocks=3": ["block.num_blocks is not a setting"],
    "block=prenorm block.num_blocks=0": ["block.num_blocks=0", "positive whole number"],
    "model=s4d trainer.precision=bf16-true": ["complex numbers", "single or double precision"],
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_named_and_leaves_nothing_behind(type_command, tmp_path, override):
    code, _, complaint = type_command("trainer=smoke", *override.split())
    assert code == 1
    assert all(part in complaint for part in MISTAKES[override]), complaint
    assert complaint.startswith("error: ")
    assert "Traceback" not in complaint
    assert complaint.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", ["sine", "text", "reber", "in_context_recall"])
def test_a_layer_that_reads_backwards_is_not_asked_what_comes_next(type_command, tmp_path, task):
    code, _, complaint = type_command("trainer=smoke", f"task={task}", "model.bidirectional=true")
    assert code == 1
    assert "error: model.bidirectional should be false for" in complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.path=none.csv", "task.target=x"], "there is none at none.csv"),
        (["task.path=mine.csv", "task.target=valeu"], "did you mean 'value'?"),
        (["task.path=mine.csv", "task.target=word"], "found 'a' in line 2"),
        (["task.path=mine.csv", "task.target=gap"], "found a gap in line 3"),
        (["task.path=mine.csv", "task.target=value", "task.window=50"], "needs 51 rows"),
        (["task.path=mine.csv", "task.target=value", "task.window=-5"], "task.window=-5"),
    ],
)
def test_a_mistake_in_a_file_of_ones_own(type_command, tmp_path, words, message):
    (tmp_path / "mine.csv").write_text("value,word,gap\n" + "1,a,3\n2,b,\n" * 20)
    code, _, complaint = type_command("task=csv", *words)
    assert code == 1
    assert message in complaint
    assert complaint.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["mine.csv"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.path=mine.csv", "task.id=id"], "label should be the column of mine.csv to be answered, got None"),
        (["task.path=mine.csv", "task.id=word", "task.label=id"], "mine.csv: column 'x' should hold a number"),
        (["task.path=mine.csv", "task.id=word", "task.label=id"], "found a gap in line 3 (2 such rows of 4)"),
        (["task.path=mine.csv", "task.id=id", "task.label=word"], "and a comes again in line 4 of mine.csv"),
        (["task.path=empty"], "should be a folder with files of sequences"),
        (["task.path=empty", "task.labels=labels.csv"], "id should be the column of labels=labels.csv"),
    ],
)
def test_a_mistake_in_sequences_of_ones_own(type_command, tmp_path, words, message):
    (tmp_path / "mine.csv").write_text("id,word,x\na,u,1\nb,v,\na,w,3\nb,z,\n")
    (tmp_path / "empty").mkdir()
    code, _, complaint = type_command("task=sequences", "task.inputs=[x]", *words)
    assert code == 1
    assert message in complaint
    assert complaint.count("\n") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty", "mine.csv"]


def test_names_that_a_task_hands_on_are_checked_as_its_own(type_command, tmp_path):
    for override, hint in [("+task.halve=true", "'halves'"), ("+task.mixed_length=true", "'mixed_lengths'")]:
        code, _, complaint = type_command("trainer=smoke", "task=adding", override)
        assert code == 1
        assert f"is not an argument of seqmodels.tasks.memory.Adding; did you mean {hint}?" in complaint
    code, _, complaint = type_command("trainer=smoke", "task=adding", "task.test_length=long")
    assert code == 1
    assert "task.test_length=long: test_length should be a whole number or null, got 'long'" in complaint


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("task.length=ten", "length should be a whole number or a list of whole numbers, got 'ten'"),
        ("task.test_lengths=40", "test_lengths should be a list of whole numbers or null, got 40"),
        ("task.mixed_lengths=maybe", "mixed_lengths should be true or false, got 'maybe'"),
        ("optimizer.lr=high", "lr should be a number or Tensor, got 'high'"),
        ("model.nonlinearity=tan", "nonlinearity should be 'tanh' or 'relu', got 'tan'; did you mean 'tanh'?"),
        ("task.test_length=99999999999999", "needs more memory than is available"),
        ("task.length=99999999999999999999", "length should be a whole number below 2^63"),
    ],
)
def test_a_value_of_another_kind_or_size(type_command, override, complaint):
    code, _, printed = type_command("task=adding", "trainer=smoke", override)
    assert code == 1
    assert complaint in printed
    assert printed.count("\n") == 1


def test_an_unwritable_output_folder(type_command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, complaint = type_command("trainer=smoke", "hydra.run.dir=file/run")
    assert code == 1
    assert "cannot open or write" in complaint
    assert "file/run" in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["scheduler=cosine", "scheduler.T_max=0"],
        ["scheduler=one_cycle", "scheduler.total_steps=5"],
        ["scheduler=one_cycle", "scheduler.pct_start=2"],
        ["scheduler=cosine", "scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"],
    ],
)
def test_a_scheduler_that_would_fail_on_the_way_fails_before(type_command, tmp_path, words):
    code, _, complaint = type_command("trainer=smoke", *words)
    assert code == 1
    assert complaint.startswith("error: scheduler")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_before_stays(type_command, tmp_path):
    mine = tmp_path / "mine" / "empty"
    mine.mkdir(parents=True)
    os.utime(mine, (0, 0))
    assert type_command("seed=-1", f"hydra.run.dir={mine}")[0] == 1
    assert mine.is_dir()


def test_a_folder_that_holds_a_run_is_left_alone(type_command, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("precious")
    code, _, complaint = type_command("trainer=smoke", "hydra.run.dir=run")
    assert code == 1
    assert "holds a run already" in complaint
    assert (tmp_path / "run" / "config.yaml").read_text() == "precious"
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_one_wrong_job_of_a_sweep_does_not_stop_the_others(type_command, tmp_path):
    words = ["trainer=smoke", "logger=none", "trainer.enable_progress_bar=false", "model.hidden_size=-1,4"]
    code, _, complaint = type_command("-m", *words)
    assert code == 1
    assert "model.hidden_size=-1" in complaint.split("]")[0]
    assert len(list((tmp_path / "outputs").glob("parity_check/manual_rnn/*/result.json"))) == 1
    assert len(list((tmp_path / "outputs" / "parity_check" / "manual_rnn").iterdir())) == 1


def test_a_fault_of_the_program_keeps_its_stack_trace(type_command, monkeypatch):
    import seqmodels.runs.run

    monkeypatch.setattr(seqmodels.runs.run, "prove", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        type_command("trainer=smoke")


def test_help_lists_what_can_be_chosen():
    shown = subprocess.run([sys.executable, "train.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for group in CONF.iterdir():
        if group.is_dir() and group.name != "space":  # which is chosen by seqmodels tune
            line = next(line for line in shown.stdout.splitlines() if line.startswith(f"{group.name}: "))
            assert {file.stem for file in group.glob("*.yaml")} == set(line.removeprefix(f"{group.name}: ").split(", "))


def test_the_options_may_follow_the_settings(type_command, tmp_path):
    words = ["trainer=smoke", "logger=none", "trainer.enable_progress_bar=false", "model.hidden_size=2,3", "-m"]
    assert type_command(*words)[0] == 0
    assert len(list(tmp_path.glob("outputs/parity_check/manual_rnn/*/result.json"))) == 2
    code, _, complaint = type_command(*words, "hydra.run.dir=x")
    assert code == 1
    assert "hydra.run.dir=x: a sweep (-m) does not use it; its folder is hydra.sweep.dir" in complaint


def test_the_version_is_that_of_this_package(type_command):
    assert type_command("--version") == (0, f"seqmodels {seqmodels.__version__}\n", "")


def test_help_imports_neither_torch_nor_lightning():
    """What keeps it fast."""
    script = "import sys, train; assert not {'torch', 'lightning', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_compose_returns_what_a_command_would_run_with():
    config = compose("model=nn_rnn", "model.hidden_size=7", "scheduler=cosine", "trainer.max_steps=30")
    assert config.model._target_ == "torch.nn.RNN"
    assert config.model_name == "nn_rnn"
    assert config.scheduler.T_max == 30
    with pytest.raises(UserError, match="did you mean 'nn_rnn'"):
        compose("model=nn_rn")


@pytest.mark.parametrize("experiment", sorted(file.stem for file in (CONF / "experiment").glob("*.yaml")))
def test_each_experiment_names_a_claim(experiment):
    assert compose(f"experiment={experiment}").claim


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["experiment=parity_uniform"], True),
        (["experiment=parity_uniform", "model=manual_rnn", "seed=3"], True),
        (["experiment=parity_uniform", "task=adding"], False),
        (["experiment=parity_uniform", "model=nn_lstm"], False),
        (["experiment=parity_uniform", "model._target_=torch.nn.GRU"], False),
        (["experiment=regular_tasks", "task=even_pairs", "model=manual_lstm"], True),
        (["experiment=regular_tasks", "task=adding", "model=manual_lstm"], False),
        (["seed=3"], False),
    ],
)
def test_a_run_of_another_task_or_model_carries_no_claim(words, kept):
    assert (claim_of(compose(*words)) is not None) is kept


def test_nearest_is_silent_where_nothing_is_near():
    assert nearest("zzz", ["tanh", "relu"]) == ""
