"""A run folder is a model again, and nothing but a model."""

import json

import pytest
from omegaconf import OmegaConf

import seqmodels
from seqmodels.checks import UserError
from seqmodels.layers import ManualRNN

SHORT = ["trainer=smoke", "model.hidden_size=8", "data.batch_size=16"]


def test_load_run_gives_the_trained_model_back(train):
    folder = train("task=digits", *SHORT, "trainer.max_steps=100")
    model = seqmodels.load_run(folder)
    assert not model.training
    assert isinstance(model.layer, ManualRNN)
    from seqmodels.tasks import Digits

    images, labels = Digits().data["test"]
    right = (model(images).argmax(1) == labels).float()
    limited = right[:32].mean().item()  # trainer=smoke tests on two batches of 16
    assert limited == pytest.approx(json.loads((folder / "result.json").read_text())["test"])


def test_load_run_needs_no_data(train, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("to be or not to be, that is the question. " * 50)
    folder = train("task=text", f"task.path={file}", "embedding_size=4", *SHORT)
    file.unlink()
    assert seqmodels.load_run(folder, checkpoint="last").encoder.embedding_dim == 4


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        "torch.utils.collect_env.run",
        "seqmodels.layers.stack.torch.hub.load",
        "seqmodels.layers.rnn.difflib.unified_diff",
        "torch.nn.modules.module.torch.hub.load",
        "seqmodels.run.run",
        "torch.nn.RNN.forward",
    ],
)
def test_load_run_builds_nothing_but_trusted_layers(train, target):
    folder = train(*SHORT)
    config = OmegaConf.load(folder / "config.yaml")
    config.model._target_ = target
    OmegaConf.save(config, folder / "config.yaml")
    with pytest.raises(UserError, match=r"model\._target_="):
        seqmodels.load_run(folder)


def test_load_run_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.yaml"):
        seqmodels.load_run(tmp_path)


def test_a_run_of_an_earlier_version_keeps_its_backend_under_the_new_word(train):
    folder = train(*SHORT)
    config = OmegaConf.load(folder / "config.yaml")
    config.model.backend = "fused"
    OmegaConf.save(config, folder / "config.yaml")
    assert seqmodels.load_run(folder).layer.backend == "bptt"
