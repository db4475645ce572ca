"""The command that reproduces a run, composed and compared with the config that it was derived from."""

import shlex

import pytest
from omegaconf import OmegaConf

from seqmodels.checks import UserError
from seqmodels.config import compose
from seqmodels.config.again import NOT_OF_A_RUN, command_of, overrides_of

TYPED = [
    "model=nn_rnn task=adding seed=7 trainer=smoke",
    "model=irnn task=text 'task.path=\"it'\\''s $HOME\"' optimizer=sgd optimizer.lr=1e-5",
    'task=csv \'task.path="a\\"b\\\\c"\' \'task.target="<b>"\' task.window=3 embedding_size=null',
    "scheduler=one_cycle optimizer.lr=0.02 scheduler.max_lr=0.5",
    "experiment=adding_gru model=manual_lstm task.length=50",
    "model._target_=torch.nn.RNN ~model.backend 'task.test_lengths=[40,80]' parity=off",
    "model=irnn block=prenorm_mlp block.kernel_size=4 block.expansion=null",
    "model=transformer +trainer.deterministic=true trainer.devices=1 '+optimizer.betas=[0.8,0.99]'",
]


@pytest.mark.parametrize("typed", TYPED)
def test_the_command_composes_the_same_config(typed):
    config = OmegaConf.to_container(compose(*shlex.split(typed)))
    command = command_of(config)
    program, script, *words = shlex.split(command)
    assert (program, script) == ("python", "train.py")
    again = OmegaConf.to_container(compose(*words))
    assert {name: value for name, value in again.items() if name not in NOT_OF_A_RUN} == {
        name: value for name, value in config.items() if name not in NOT_OF_A_RUN
    }
    assert len(words) <= len(shlex.split(typed)) + 11 * ("trainer=smoke" in typed)


def test_only_what_differs_is_written():
    assert command_of(OmegaConf.to_container(compose())) == "python train.py"
    config = OmegaConf.to_container(compose("scheduler=cosine", "trainer.max_steps=70", "model=nn_gru"))
    assert overrides_of(config) == ["model=nn_gru", "scheduler=cosine", "trainer.max_steps=70"]


def test_a_config_that_no_command_composes():
    config = OmegaConf.to_container(compose())
    with pytest.raises(UserError, match="colour"):
        overrides_of(config | {"colour": "red"})
    with pytest.raises(UserError):
        overrides_of({})
