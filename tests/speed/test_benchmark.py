"""The benchmark compares before it times, and leaves what it promises."""

import sys

import pandas as pd
import pytest
import torch

from seqmodels.layers import IndRNN, ManualRNN, MinGRU
from seqmodels.speed.benchmark import loop_of

TINY = ["layers=[manual_rnn]", "threads=[1]", "rounds=1"]


def test_a_row_for_each_size_and_mode(type_command, tmp_path):
    code, shown, _ = type_command(*TINY, "sizes=[[4,2,3,5,1],[3,2,3,4,2]]", verb="benchmark")
    assert code == 0
    assert "manual_rnn" in shown
    (folder,) = tmp_path.glob("outputs/benchmark/*")
    table = pd.read_csv(folder / "benchmark.csv")
    assert list(table["mode"]) == ["train", "infer", "train", "infer"]
    assert list(table["layers"]) == [1, 1, 2, 2]
    assert table["ratio"].to_numpy() == pytest.approx((table["reference_ms"] / table["ours_ms"]).to_numpy(), rel=1e-3)
    # Forward, layer 2: 3 steps of 2 sequences, each a product with 4 x 3 and 4 x 4, then with 4 x 4 twice.
    assert table["gflops"][3] == pytest.approx(2e-9 * 3 * 2 * (4 * 3 + 3 * 4 * 4))
    lines = (folder / "benchmark.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| 4, 2, 3, 5, 1",
        "| 3, 2, 3, 4, 2",
        "| geometric mean",
        "| worst",
    ]
    assert (folder / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_a_scan_is_compared_with_its_loop(type_command, tmp_path):
    layers = "layers=[min_gru,lru,delta_net,mamba]"
    code, _, _ = type_command(layers, "threads=[1]", "rounds=1", "sizes=[[9,2,3,8,2]]", verb="benchmark")
    assert code == 0
    (file,) = tmp_path.glob("outputs/benchmark/*/benchmark.csv")
    table = pd.read_csv(file)
    assert set(table["reference"]) == {"its loop"}
    # Forward, minGRU: 9 steps of 2 sequences, products with 16 x 3 and 16 x 8.
    assert table["gflops"][1] == pytest.approx(2e-9 * 9 * 2 * (16 * 3 + 16 * 8))


def test_a_compiled_layer_is_compared_with_its_loop(type_command, tmp_path, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("SEQMODELS_CACHE", str(tmp_path / "cache"))
    words = ["layers=[indrnn]", "backend=compiled", "threads=[1]", "rounds=1", "sizes=[[4,2,3,5,1]]"]
    code, _, _ = type_command(*words, verb="benchmark")
    assert code == 0
    (file,) = tmp_path.glob("outputs/benchmark/*/benchmark.csv")
    assert set(pd.read_csv(file)["reference"]) == {"its loop"}
    layer = IndRNN(3, 4, backend="compiled")
    assert loop_of(layer).backend == "autograd"
    assert layer.backend == "compiled"


def test_a_loop_takes_single_steps_and_a_scan_does_not(monkeypatch):
    layer, taken = MinGRU(3, 4), []
    step = MinGRU.step
    monkeypatch.setattr(MinGRU, "step", lambda *arguments: taken.append(1) or step(*arguments))
    inputs = torch.randn(5, 2, 3)
    layer(inputs)
    assert not taken
    loop_of(layer)(inputs)
    assert len(taken) == 5


def test_another_layer_beside_it_is_only_timed(type_command, tmp_path):
    words = ["layers=[min_gru]", "against=nn_gru", "threads=[1]", "rounds=1", "sizes=[[4,2,3,5,1]]"]
    code, shown, _ = type_command(*words, verb="benchmark")
    assert code == 0
    assert "nn.GRU" in shown


def test_without_jax_there_is_no_column_for_it(type_command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)  # as if it were not installed
    code, shown, _ = type_command(*TINY, "sizes=[[4,2,3,5,1]]", verb="benchmark")
    assert code == 0
    (file,) = tmp_path.glob("outputs/benchmark/*/benchmark.csv")
    assert "jax" not in " ".join(pd.read_csv(file).columns)
    assert "JAX" not in shown + (file.parent / "benchmark.md").read_text()


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("float32", "jax=true needs a package that is not installed: pip install 'seqmodels[jax]'"),
        ("bfloat16", "jax=true is for device=cpu with dtype=float32 or float64, got cpu and bfloat16"),
    ],
)
def test_jax_where_it_cannot_be(type_command, tmp_path, monkeypatch, dtype, message):
    monkeypatch.setitem(sys.modules, "jax", None)
    code, _, complaint = type_command(*TINY, "jax=true", f"dtype={dtype}", verb="benchmark")
    assert (code, complaint) == (1, f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_what_differs_is_not_timed(type_command, tmp_path, monkeypatch):
    step = ManualRNN.step
    monkeypatch.setattr(ManualRNN, "step", lambda *arguments: 1.001 * step(*arguments))
    code, _, complaint = type_command(*TINY, "sizes=[[4,2,3,5,1]]", verb="benchmark")
    assert code == 1
    assert "error: manual_rnn differs from its reference at [4, 2, 3, 5, 1] by" in complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sizes=[]", "sizes should be a list, such as sizes=[[50,32,8,64,1]], got"),
        ("threads=2", "threads should be a list, such as threads=[1], got 2"),
        ("layers=[manual_run]", "did you mean 'manual_rnn'?"),
        ("layers=[tcn]", "name layers with a reference, or with a scan"),
        ("layers=[mgu]", "got mgu, which has neither"),
        ("against=nn_gruu", "did you mean 'nn_gru'?"),
        ("sizes=[[4,2,3]]", "rows [time, batch, input, hidden, layers], got [4, 2, 3]"),
        ("sizes=[[4,2,3,0,1]]", "sizes should be a positive whole number, got 0"),
        ("rounds=0", "rounds should be a positive whole number, got 0"),
        ("jax=maybe", "jax should be 'auto', 'true' or 'false', got 'maybe'"),
        ("dtype=float", "dtype should be 'float32', 'float64', 'bfloat16' or 'float16', got 'float'"),
        *([] if torch.cuda.is_available() else [("device=cuda", "device should be 'cpu' or")]),
    ],
)
def test_a_mistake_is_named(type_command, tmp_path, override, message):
    code, _, complaint = type_command(*TINY, override, verb="benchmark")
    assert code == 1
    assert message in complaint
    assert complaint.startswith("error: ")
    assert complaint.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
