"""Runs, sweeps, pages and exports of a layer in blocks; and runs without blocks, which are as they always were."""

import json
from functools import partial

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

import seqmodels
from seqmodels import parity
from seqmodels.config import compose
from seqmodels.config.identity import identity
from seqmodels.experiments.sweeps.width import matched, parameters_of
from seqmodels.export import export_model
from seqmodels.export.forms import OneStep
from seqmodels.layers import SLSTM, Blocks, ManualGRU
from seqmodels.lens.eigenvalues import spectra_of
from seqmodels.lens.saturation import saturation_of
from seqmodels.model import SequenceModel
from seqmodels.runs.page import content_of
from seqmodels.runs.resume import continued

SHORT = ["trainer=smoke", "data.batch_size=16", "model.hidden_size=8"]
BLOCKED = ["model=manual_gru", "block=prenorm_mlp", "block.kernel_size=4", *SHORT]


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def test_a_run_of_a_layer_in_blocks(train, monkeypatch):
    """The layer is proven at the width that it reads in its block, and the run is loaded and shown again."""
    proven = []
    monkeypatch.setattr(
        parity,
        "compare",
        lambda layer, arguments, **rest: proven.append((layer, arguments)) or compare(layer, arguments, **rest),
    )
    folder = train(*BLOCKED, "task=parity_check")
    ((layer, arguments),) = proven
    assert (layer, arguments["input_size"], arguments["hidden_size"]) == (ManualGRU, 8, 8)
    result = result_of(folder)
    assert (result["model"], result["layer"]) == ("manual_gru+prenorm_mlp", "seqmodels.layers.gru.ManualGRU")
    assert result["parity"]["passed"]
    model = seqmodels.load_run(folder)
    assert isinstance(model.layer, Blocks)
    assert result["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert [block.convolution.kernel_size for block in model.layer.blocks] == [(4,), (4,)]
    content = content_of(folder)
    assert not content.notes
    assert content.command.startswith("python train.py model=manual_gru block=prenorm_mlp ")
    assert len(content.lens.spectra) == 6
    assert {saturation.name for saturation in content.lens.saturation} == {
        f"{name}, block {number}" for name in ("reset gate", "update gate", "candidate") for number in (1, 2)
    }


compare = parity.compare


def test_a_run_in_blocks_continues_bit_for_bit(train, tmp_path):
    from seqmodels.runs.build import build
    from seqmodels.runs.run import run

    whole, folder = train(*BLOCKED, "trainer.max_steps=30", name="whole"), train(*BLOCKED)
    words = ["trainer.max_steps=30", f"resume={folder}"]
    run(build(continued(compose(*BLOCKED, *words), words, folder), folder), folder, resumes=True)
    weights = [torch.load(place / "checkpoints" / "last.ckpt", weights_only=True) for place in (whole, folder)]
    for name, weight in weights[0]["state_dict"].items():
        assert torch.equal(weight, weights[1]["state_dict"][name])
    typed = compose("block=none", f"resume={folder}")
    with pytest.raises(seqmodels.checks.UserError, match=r"would change its numbers: block\._target_ \(from"):
        continued(typed, ["block=none"], folder)


def test_without_blocks_nothing_has_changed(train):
    """Neither the config nor its digest, so that finished runs are found again, and old ones continue."""
    config = compose("model=lru", *SHORT)
    assert "block" not in config
    assert config == compose("model=lru", "block=none", *SHORT)
    assert config.model_name == "lru"
    assert identity(config) != identity(compose("model=lru", "block=prenorm", *SHORT))
    folder = train("model=lru", *SHORT)
    assert "block" not in OmegaConf.load(folder / "config.yaml")
    for words in (["block=none"], [f"resume={folder}"]):
        assert continued(compose("model=lru", *SHORT, f"resume={folder}"), words, folder) == OmegaConf.load(
            folder / "config.yaml"
        )


def test_a_layer_of_ones_own_in_blocks(train, tmp_path, monkeypatch):
    """It is loaded if it is trusted, as without blocks, even if it cannot be built without memory."""
    (tmp_path / "their_gru.py").write_text(
        "from torch import nn\n\n"
        "class Own(nn.GRU):\n"
        "    def __init__(self, *sizes, **arguments):\n"
        "        super().__init__(*sizes, **arguments)\n"
        "        self.total = float(self.weight_hh_l0.detach().sum())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = train("model=nn_gru", "model._target_=their_gru.Own", "block=prenorm", *SHORT, "page=true")
    assert result_of(folder)["model"] == "Own+prenorm"
    assert "There are no pictures of the model" not in (folder / "page.html").read_text()
    with pytest.raises(seqmodels.restore.RunFolderError, match=r"model\._target_=their_gru\.Own is not a layer"):
        seqmodels.load_run(folder)
    assert type(seqmodels.load_run(folder, trusted=("their_gru",)).layer.blocks[1].mixer).__name__ == "Own"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_blocks": 10**9}, "many more layers"),
        ({"kernel_size": 10**9}, "needs 32000000000 bytes"),
        ({"num_blocks": 3}, "it lacks, and the model of config.yaml has, the weight layer.blocks.2"),
        ({"_target_": "os.system"}, "block._target_=os.system is not a layer"),
        ({"_target_": "seqmodels.layers.ManualRNN"}, "unexpected keyword argument"),
        ({"kernel_size": {"_target_": "os.system"}}, "block.kernel_size._target_ would make Hydra build an object"),
        ({"layer": {"a": 1}}, "multiple values for keyword argument 'layer'"),
    ],
)
def test_a_hostile_block_is_an_error(blocked, change, message):
    config = OmegaConf.load(blocked / "config.yaml")
    original = config.copy()
    config.block = OmegaConf.merge(config.block, change)
    OmegaConf.save(config, blocked / "config.yaml")
    with pytest.raises(seqmodels.restore.RunFolderError) as error:
        seqmodels.load_run(blocked)
    OmegaConf.save(original, blocked / "config.yaml")
    assert message in str(error.value)


@pytest.fixture(scope="module")
def blocked(tmp_path_factory):
    """A finished run in blocks, without its digests."""
    from seqmodels.runs.build import build
    from seqmodels.runs.run import run

    folder = tmp_path_factory.mktemp("blocked")
    run(build(compose("trainer.enable_progress_bar=false", "logger=none", *BLOCKED), folder), folder)
    (folder / "result.json").unlink()
    return folder


WRONG = {
    "block=prenrom": "block=prenrom: there is no such block; did you mean 'prenorm'? (one of: none, prenorm",
    "block=prenorm block.kernal_size=3": "block.kernal_size is not a setting; did you mean 'kernel_size'?",
    "block.kernel_size=4": "block.kernel_size is not a setting without blocks; block=prenorm and block=prenorm_mlp",
    "block.kernal_size=4": "block.kernal_size is not a setting\n",
    "block=prenorm +block.kernal=3": "block.kernal is not an argument of seqmodels.layers.Blocks",
    "block=prenorm block.num_blocks=0": "block.num_blocks=0: num_blocks should be a positive whole number, got 0",
    "block=prenorm block.expansion=0": "block.expansion=0: expansion should be a positive whole number, got 0",
    "block=prenorm block.kernel_size=1": "block.kernel_size=1: kernel_size should be a whole number of at least 2",
    "block=prenorm block.kernel_size=a": "block.kernel_size=a: kernel_size should be a whole number or null, got 'a'",
    "block=prenorm +block.layer=x": "block.layer is set by the program; leave it out",
    "block=prenorm model=transformer": "block: Transformer is made of blocks already: use it with block=none",
    "block=prenorm model.hidden_size=0": "model.hidden_size=0: hidden_size should be a positive whole number, got 0",
    "block=prenorm embedding_size=4 task=adding": "model: embedding_size=4 is for tokens",
    "block=prenorm block._target_=null": "block._target_=None cannot be imported",
    "-m block=none,prenorm baseline=none": "got none (models: manual_rnn, manual_rnn+prenorm)",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_mistake_is_one_message(type_command, words):
    code, _, errors = type_command(*words.split(), "trainer=smoke")
    assert code == 1
    assert errors.startswith("error: ")
    assert WRONG[words] in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("verb", ["trace", "benchmark", "parity"])
def test_verbs_about_a_layer_alone_have_no_blocks(type_command, verb):
    assert type_command("block=prenorm", verb=verb)[2] == "error: block is not something to choose\n"


@pytest.mark.slow
def test_a_sweep_tells_blocks_apart_by_the_name_of_the_model(type_command, tmp_path):
    words = ["-m", "model=min_gru", "block=none,prenorm,prenorm_mlp", "trainer=smoke", "data.batch_size=16"]
    code, printed, errors = type_command(
        *words, "match=parameters", "baseline=min_gru", "model.hidden_size=32", "logger=none"
    )
    assert code == 0, errors
    table = pd.read_csv(next(tmp_path.rglob("comparison.csv")))
    assert list(table["model"]) == ["min_gru", "min_gru+prenorm", "min_gru+prenorm_mlp"]
    assert "block" not in table
    folders = [file.parent for file in tmp_path.rglob("result.json")]
    assert {folder.parent.name for folder in folders} == set(table["model"])
    sizes = [result_of(folder)["parameters"] for folder in folders]
    assert max(sizes) < 1.15 * min(sizes)
    assert "min_gru+prenorm" in printed


def slstm_in_blocks():
    torch.manual_seed(0)
    mixer = partial(SLSTM, hidden_size=4, batch_first=True)
    return SequenceModel(partial(Blocks, mixer, kernel_size=3, expansion=2), 2, 2).eval()


@torch.no_grad()
def test_one_step_of_an_export_starts_from_the_states_of_the_layer():
    model = slstm_in_blocks()
    step = OneStep(model)
    assert [port.name for port in step.inputs[1:]] == list(model.layer.states)
    assert {port.name for port in step.inputs[1:] if port.start != 0} == {"m_block0", "m_block1"}
    assert step.difference(step, batch=3, steps=5) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"padded": True}, {"streaming": True}, {"length": 9}, {"length": 9, "format": "torch"}], ids=str
)
def test_exports_of_blocks(options):
    """Each is compared with the model before it is returned."""
    pytest.importorskip("onnxruntime")
    assert export_model(slstm_in_blocks(), **options).content


@pytest.mark.parametrize("block", ["none", "prenorm"])
def test_equal_sizes_count_the_blocks(block):
    """The first model is the one that the others are matched with, in the blocks that it has."""
    runs = [[f"block={block}", "model.hidden_size=20"], ["block=prenorm_mlp", "model=lru", "model.hidden_size=20"]]
    sizes = [parameters_of(compose(*words)) for words in (runs[0], matched(runs, "parameters", print)[1])]
    assert abs(sizes[1] / sizes[0] - 1) < 0.1


def test_the_lens_looks_into_each_block():
    torch.manual_seed(0)
    blocks = Blocks(lambda input_size: ManualGRU(input_size, 4, batch_first=True), 3, kernel_size=2).eval()
    expected = [
        f"block {k}: weight_hh_l0, {gate}" for k in (1, 2) for gate in ("reset gate", "update gate", "candidate")
    ]
    assert [spectrum.name for spectrum in spectra_of(blocks)] == expected
    assert torch.equal(spectra_of(blocks)[3].values, spectra_of(blocks.blocks[1].mixer)[0].values)
    inputs = torch.randn(2, 5, 3)
    read = []
    hook = blocks.blocks[1].mixer.register_forward_hook(lambda _, arguments, __: read.append(arguments[0]))
    blocks(inputs)
    hook.remove()
    found = {one.name: one for one in saturation_of(blocks, inputs)}
    for one in saturation_of(blocks.blocks[1].mixer, read[0].detach()):
        assert (one.low, one.high) == (found[f"{one.name}, block 2"].low, found[f"{one.name}, block 2"].high)
    assert saturation_of(blocks, inputs[:0]) == []
