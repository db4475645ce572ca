"""The contract of tasks, for every task in conf/task. No list of tasks is kept by hand."""

import functools
import inspect
import itertools
import random
import typing

import pytest
import torch
from answers import build, config_of, shipped
from omegaconf import OmegaConf
from torch import nn

from seqmodels.config import CONF, arguments_of, instantiate, target_of
from seqmodels.data import SequenceData
from seqmodels.model import SequenceModel
from seqmodels.signatures import accepted_by
from seqmodels.tasks import DrawnTask, FiniteTask
from seqmodels.tasks.lengths import Lengths, LengthSettings
from seqmodels.tasks.task import IGNORED

FILES = sorted(file.stem for file in (CONF / "task").glob("*.yaml"))
TEXTS = {name: (CONF / "task" / f"{name}.yaml").read_text() for name in FILES}
TASKS = [name for name in FILES if "???" not in TEXTS[name]]
DRAWN = [name for name in FILES if "/lengths@" in TEXTS[name]]
MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))


def data_of(task, **arguments):
    return SequenceData(task, **{"train_batches": 16, "batch_size": 64, "eval_batches": 4} | arguments)


def sample(task, length, size, seed):
    return task.solve(task.draw_for("train", size, length, torch.Generator().manual_seed(seed)))


def score(task, answers, targets):
    metric = task.metric()
    metric.update(*task.scored(answers, targets))
    return metric.compute().item()


def as_answers(task, targets):
    """Confident answers that agree with the targets."""
    if targets.is_floating_point():
        return targets.nan_to_num()
    return 100.0 * nn.functional.one_hot(targets.clamp(min=0), task.output_size)


@pytest.mark.parametrize("name", FILES)
def test_the_file_gives_every_argument_and_says_what_the_task_is(name):
    config = config_of("task", name)
    assert arguments_of(config).keys() == accepted_by(target_of(config, "task")).keys()
    comment = TEXTS[name].partition("\n")[0]
    assert comment.startswith("# ")
    assert comment.endswith((".", "?"))
    assert inspect.getdoc(target_of(config, "task"))
    assert issubclass(target_of(config, "task"), DrawnTask) == (name in DRAWN)


def test_tasks_pass_on_all_settings_of_lengths():
    """The names and types are written twice, for callers and for type checkers."""
    settings = {name: hint for name, hint in accepted_by(DrawnTask).items() if name != "length"}
    accepted = accepted_by(Lengths)
    assert settings == typing.get_type_hints(LengthSettings) == {name: accepted[name] for name in settings}
    assert OmegaConf.load(CONF / "lengths.yaml").keys() == settings.keys()


@pytest.mark.parametrize("name", TASKS)
def test_each_class_has_a_symbol_or_none_has(name):
    symbols = shipped(name).symbols
    assert symbols is None or len(set(symbols)) == len(symbols) == shipped(name).output_size


def same(batch, other):
    return len(batch) == len(other) and all(
        part.shape == other_part.shape and torch.equal(part.nan_to_num(), other_part.nan_to_num())
        for part, other_part in zip(batch, other, strict=True)
    )


@pytest.mark.parametrize("name", TASKS)
def test_equal_seeds_and_indices_give_equal_batches_in_any_order(name):
    """Another seed or index has other batches. Nothing else counts, not even the global random state."""
    torch.manual_seed(0)
    batches = data_of(shipped(name), seed=5, batch_size=16).batches("train")
    forwards = [batches[i] for i in range(4)]
    state = torch.manual_seed(99).get_state()
    again = data_of(build(name), seed=5, batch_size=16).batches("train")
    assert all(same(forwards[i], again[i]) for i in reversed(range(4)))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(same(one, other) for one, other in itertools.combinations(forwards, 2))
    assert not same(forwards[1], data_of(shipped(name), seed=6, batch_size=16).batches("train")[1])


def rows(inputs):
    return [row.tobytes() for row in inputs.contiguous().numpy()]


@pytest.mark.parametrize("name", TASKS)
def test_no_sequence_is_shared_between_splits(name, tmp_path):
    """Where there are so few sequences that training repeats its own, splits share no more than that.

    All splits have one length. The text does not repeat itself, as source code does.
    """
    if name == "text":
        (tmp_path / "letters.txt").write_text("".join(random.Random(0).choices("abcdefgh", k=20000)))
        task = build(name, path=str(tmp_path / "letters.txt"))
    elif isinstance(shipped(name), DrawnTask):
        task = build(name, length=shipped(name).lengths.longest, test_length=None, doubling_batches=None)
    else:
        task = shipped(name)
    if isinstance(task, FiniteTask):
        train, val, test = (
            rows(task.read(split, torch.arange(task.examples(split)))[0]) for split in ("train", "val", "test")
        )
    else:
        batches = {split: data_of(task).batches(split) for split in ("train", "val", "test")}
        train, val, test = (list(itertools.chain(*(rows(batch[0]) for batch in batches[split]))) for split in batches)
    half = len(train) // 2
    repeated = len(set(train[:half]) & set(train[half:]))
    for first, second in itertools.combinations((train, val, test), 2):
        shared = len(set(first) & set(second))
        assert shared <= 3 * repeated, f"{shared} shared, where training repeats {repeated} of {len(train)}"


@pytest.mark.parametrize("name", TASKS)
def test_the_solver_counts_as_solved_and_chance_does_not(name):
    task = shipped(name)
    inputs, targets, *_ = data_of(task).batches("test")[0]
    if isinstance(task, DrawnTask):
        torch.testing.assert_close(task.solve(inputs), targets, rtol=0, atol=0, equal_nan=True)
    assert task.is_solved(score(task, as_answers(task, targets), targets))
    assert not task.is_solved(task.chance)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_whose_answers_show_in_the_next_input_says_so(name):
    task = shipped(name)
    inputs, targets, *_ = data_of(task).batches("test")[0]
    if task.every_step and targets.shape == inputs.shape:
        scored = (targets != IGNORED) & ~targets.isnan()
        told = (targets[:, :-1] == inputs[:, 1:])[scored[:, :-1]].float().mean()
        assert task.predicts_next or told < 0.75


@pytest.mark.parametrize("name", DRAWN)
def test_lengths_that_are_drawn_alike_are_one_length(name):
    task = shipped(name)
    lengths = range(task.min_length, task.min_length + 7)
    drawn = [task.draw(1, length, torch.Generator().manual_seed(1)).size(1) for length in lengths]
    fitting = [task.fitting(length) for length in lengths]
    pairs = list(itertools.pairwise(zip(drawn, fitting, strict=True)))
    assert all((size == next_size) == (fits == next_fits) for (size, fits), (next_size, next_fits) in pairs)
    assert all(fits <= length for fits, length in zip(fitting, lengths, strict=True))


@pytest.mark.parametrize("name", DRAWN)
def test_chance_is_what_the_best_constant_answer_scores(name):
    """The frequencies, or the mean, at each step of 2,048 training sequences, scored on 2,048 others.

    The standard error is that of 8 parts. Frequencies found in a sample cost up to classes / 2,048 nats more.
    """
    task = shipped(name)
    for length in sorted({task.lengths.shortest, task.lengths.longest, task.lengths.longest + 8}):
        known, asked = (sample(task, length, 2048, seed) for seed in (1, 2))
        if known.is_floating_point():
            answer = known.nanmean(dim=0).nan_to_num()
        else:
            frequencies = [(known == number).sum(dim=0) for number in range(task.output_size)]
            answer = (torch.stack(frequencies, dim=-1) + 1 / task.output_size).log()
        parts = asked.chunk(8)
        scores = torch.tensor([score(task, answer.expand(len(part), *answer.shape), part) for part in parts])
        tolerance = 5 * scores.std() / 8**0.5 + 0.01 * abs(task.chance_at(length))
        assert abs(scores.mean() - task.chance_at(length)) < tolerance, f"at length {length}"


@functools.cache
def tiny(name):
    """A task with short sequences, of mixed lengths where it draws them, and two of its batches."""
    task = shipped(name)
    if isinstance(task, DrawnTask):
        task = build(name, length=[task.min_length, task.min_length + 3], test_length=None, mixed_lengths=True)
    batches = data_of(task, batch_size=4).batches("train")
    return task, [batches[0], batches[1]]


def check_two_steps(model_name, name):
    task, batches = tiny(name)
    torch.manual_seed(0)
    layer = functools.partial(instantiate, OmegaConf.merge(config_of("model", model_name), {"hidden_size": 8}), "model")
    model = SequenceModel(layer, task.input_size, task.output_size, task.tokens, task.every_step)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = [parameter.clone() for parameter in model.parameters()]
    for inputs, targets, *lengths in batches:
        loss = task.loss(model(inputs, *lengths), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert not any(torch.equal(*pair) for pair in zip(before[-2:], [*model.parameters()][-2:], strict=True))


@pytest.mark.parametrize("number", range(max(len(TASKS), len(MODELS))))
def test_models_learn_tasks(number):
    """Each model and each task at least once; all pairs are a slow test."""
    check_two_steps(MODELS[number % len(MODELS)], TASKS[number % len(TASKS)])


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("model_name", MODELS)
def test_every_model_learns_every_task(model_name, name):
    check_two_steps(model_name, name)
