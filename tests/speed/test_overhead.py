"""train.py against a hand-written loop: the same job, to the last digit of its losses."""

import pytest

from seqmodels.commands.overhead import with_reference
from seqmodels.config import compose
from seqmodels.runs.build import build
from seqmodels.speed import overhead
from seqmodels.speed.overhead import largest_difference, train_by_hand, train_by_lightning

TINY = ["trainer.max_steps=12", "trainer.log_every_n_steps=3", "trainer.val_check_interval=5", "rounds=1"]
TINY += ["model.hidden_size=4", "data.batch_size=8", "data.eval_batches=2"]


@pytest.mark.parametrize(
    "options", [[], ["task=adding", "scheduler=cosine", "trainer.limit_val_batches=1"], ["task=digits", "model=nn_gru"]]
)
def test_by_hand_and_by_lightning_the_losses_are_the_same(tmp_path, options):
    config = compose(*TINY, "logger=none", *options, config_name="overhead")
    folders = [tmp_path / name for name in ("hand", "lightning")]
    for folder in folders:
        folder.mkdir()
    ours = train_by_hand(build(config, folders[0]), folders[0])
    lightning = train_by_lightning(build(config, folders[1]), folders[1])
    assert [len(losses) for losses in ours.losses.values()] == [4, 2]
    assert largest_difference(ours, lightning) < 1e-5
    assert (folders[0] / "best.pt").exists()


def test_the_reference_takes_the_place_of_the_layer():
    assert with_reference(compose(config_name="overhead")).model._target_ == "torch.nn.RNN"
    config = compose("model=nn_lstm", config_name="overhead")
    assert with_reference(config) == config


def test_the_command_shows_both_tables_and_writes_nothing(type_command, tmp_path, monkeypatch):
    monkeypatch.setattr(overhead, "WARM_UPS", 0)
    code, printed, _ = type_command(*TINY, verb="overhead")
    assert code == 0
    for word in ("torch.nn.RNN", "train.py, manual_rnn", "ratio", "forward and backward", "checkpoints", "1 thread"):
        assert word in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("rounds=0", "rounds should be a positive whole number"),
        ("trainer.precision=64-true", "trainer.precision should be"),
    ],
)
def test_refuses_what_the_loop_does_not_do(type_command, option, message):
    code, _, complaint = type_command(option, verb="overhead")
    assert code == 1
    assert message in complaint
