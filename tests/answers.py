"""Scores of answers to a drawn task: those of its own solver, and the best ones without seeing the input."""

import functools

import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from seqmodels.config import CONF, instantiate
from seqmodels.tasks.task import IGNORED, Task


@functools.cache
def config_of(group, name):
    """A file of conf with the files that it includes. (Hydra would take 0.1 s to compose each.)"""
    file = CONF / group / f"{name}.yaml"
    config = OmegaConf.load(file)
    defaults = [entry.partition("@")[0] for entry in config.pop("defaults", []) if entry != "_self_"]
    folders = [(CONF, entry[1:]) if entry.startswith("/") else (file.parent, entry) for entry in defaults]
    included = [config_of(folder, entry) for folder, entry in folders]
    return OmegaConf.merge(*included, config)


def build(name, **settings):
    """The task of a file in conf/task, with other settings."""
    return instantiate(OmegaConf.merge(config_of("task", name), settings), "task")


@functools.cache
def shipped(name):
    return build(name)


def draw(task, size, length=None, seed=0):
    """Inputs and targets of `size` sequences, by default of the test's length."""
    inputs = task.draw(size, length or task.lengths.tests[0], torch.Generator().manual_seed(seed))
    return inputs, task.solve(inputs)


def perfect(task, targets):
    """The outputs of a model that answers with the targets."""
    if targets.is_floating_point():
        return targets.nan_to_num()
    return F.one_hot(targets.clamp(min=0), task.output_size) * 100.0


def blind(task, targets):
    """The outputs of the best model that does not see the input: at each position the average of a sample's targets."""
    if targets.is_floating_point():
        return targets.nanmean(dim=0).nan_to_num()
    counts = F.one_hot(targets.clamp(min=0), task.output_size) * (targets != IGNORED).unsqueeze(-1)
    return (counts.sum(dim=0).double() + 1e-9).log().float()


def score(task, outputs, targets):
    metric = task.metric()
    metric.update(*task.scored(outputs, targets))
    return metric.compute().item()


def check_chance(task, size=4096):
    """The best constant answer to one sample scores `chance` on another, within five standard errors."""
    outputs = blind(task, draw(task, size, seed=1)[1])
    parts = draw(task, size, seed=2)[1].chunk(32)
    scores = torch.tensor([score(task, outputs.expand(len(part), *outputs.shape), part) for part in parts])
    tolerance = 5 * scores.std().item() / 32**0.5 + 2e-3 * task.chance  # the sample's own averages are inexact
    assert abs(scores.mean().item() - task.chance) < tolerance, (scores.mean(), task.chance, tolerance)


def check_solved_line(task):
    """The solver's own answers count as solved, and chance does not."""
    _, targets = draw(task, 100)
    assert task.is_solved(score(task, perfect(task, targets), targets))
    assert not task.is_solved(task.chance)


def check_reproducible(task):
    """Equal generators draw equal batches, different ones different batches; nothing else is random."""
    torch.manual_seed(0)
    first, again, other = draw(task, 8, seed=3), draw(task, 8, seed=3), draw(task, 8, seed=4)
    torch.testing.assert_close(first, again, rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(first[0], other[0])


def check_balanced(task, size=4096):
    """The scored targets are 1 / chance classes, equally frequent within five standard errors."""
    _, targets = draw(task, size, seed=5)
    frequencies = torch.stack(
        [F.one_hot(part[part != IGNORED], task.output_size).double().mean(0) for part in targets.chunk(32)]
    )
    kinds = frequencies.sum(dim=0) > 0
    assert kinds.sum() == round(1 / task.chance)
    errors = frequencies.std(dim=0)[kinds] / 32**0.5
    assert ((frequencies.mean(dim=0)[kinds] - task.chance).abs() < 5 * errors).all()


def name_of(value):
    """A parameter of a test as its name: a task by its class, anything else as it is printed."""
    return type(value).__name__ if isinstance(value, Task) else str(value)
