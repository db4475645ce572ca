"""The layers and the tasks that conf/ offers, described from their YAML files and docstrings."""

import inspect
import itertools
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqmodels.checks import UserError, nearest
from seqmodels.config import CONF, arguments_of, compose, instantiate, target_of
from seqmodels.report.tables import markdown_table, significant
from seqmodels.tasks import DrawnTask

TASKS_PAGE = """## All tasks

Each line is a choice of `python train.py task=...`. Chance is the best score possible without seeing the input, in the
test as shipped. Chance and the score at which a task counts as solved are listed where sequences are drawn; elsewhere
they depend on the data. The settings of lengths that all drawn tasks share (`conf/lengths.yaml`) are left out where
they have their defaults.

This section is written by `seqmodels tasks markdown=true` from `conf/task/` and the docstrings; a test checks that it
is up to date.
"""


def task_lines() -> Iterator[tuple[str, str]]:
    """The name of each task, and a line that says what is learned."""
    for name in names("task"):
        yield name, comment_of((CONF / "task" / f"{name}.yaml").read_text(encoding="utf-8"))


def layer_lines() -> Iterator[tuple[str, str]]:
    """The name of each layer, and a line about it: the comment of its file, or the first line of its module."""
    for name in names("model"):
        layer = entry("model", name)
        yield name, layer.comment or summary_of(layer.target)


def task_text(name: str) -> str:
    """Everything about one task: what is learned, its inputs, targets and settings, an example, chance and solved."""
    task = entry("task", name)
    text = [f"{name}: {task.comment}", inspect.cleandoc(task.target.__doc__ or "")]
    if issubclass(task.target, DrawnTask):
        drawn = instantiate(task.config, "task")
        text.append(f"Metric: {drawn.metric_name}. Chance: {significant(drawn.chance, 3)}. ")
        text[-1] += f"Solved: {significant(drawn.solved_at, 3)}."
    return "\n\n".join([*text, f"As shipped: {task.settings.replace('`', '')}"])


def layer_text(name: str) -> str:
    """Everything about one layer: its equations and paper, its arguments, and its settings as shipped."""
    layer = entry("model", name)
    text = [f"{name}: {layer.comment or summary_of(layer.target)}"]
    if layer.target.__module__.startswith("torch."):
        manual = name.replace("nn_", "manual_")
        text.append(f"The equations are those of {manual}, which reproduces it:")
        text.append(module_text(entry("model", manual).target))
    else:
        text.append(module_text(layer.target))
        classes = [layer.target, *(cls for cls in layer.target.__mro__ if "Args:" in str(inspect.getdoc(cls)))]
        ours = [cls for cls in dict.fromkeys(classes) if cls.__module__.startswith("seqmodels.") or cls is layer.target]
        text += [f"{cls.__name__}: {inspect.cleandoc(cls.__doc__ or '')}" for cls in ours]
    return "\n\n".join([*text, f"As shipped: {layer.settings.replace('`', '')}"])


def module_text(layer: type) -> str:
    """The docstring of a layer's module without its first line, the summary: equations, source and deviations."""
    return inspect.cleandoc(sys.modules[layer.__module__].__doc__ or "").partition("\n\n")[2]


def tasks_page() -> str:
    """All tasks as Markdown, by the module they come from."""
    entries = sorted(
        (entry("task", name) for name in names("task")), key=lambda task: (task.target.__module__, task.name)
    )
    parts = [TASKS_PAGE.strip()]
    for module, members in itertools.groupby(entries, key=lambda task: task.target.__module__):
        group = list(members)
        parts.append(f"### {inspect.cleandoc(sys.modules[module].__doc__ or module).partition(chr(10))[0].rstrip('.')}")
        header = ["task", "what is learned", "metric", "chance", "solved", "as shipped"]
        parts.append(markdown_table(header, map(task_row, group)))
        parts += [example(target) for target in dict.fromkeys(task.target for task in group)]
    return "\n\n".join(parts) + "\n"


def layers_page() -> str:
    """All layers as a Markdown table: name, what it is, class, states, parameters as shipped for 8 inputs."""
    rows = []
    for name, line in layer_lines():
        layer = entry("model", name)
        built = instantiate(layer.config, "model", input_size=8)
        count = sum(parameter.numel() for parameter in built.parameters())
        states = ", ".join(getattr(built, "states", ("h", "c") if name == "nn_lstm" else ("h",)))
        rows.append([f"`{name}`", line, f"`{layer.target.__name__}`", states, str(count)])
    return markdown_table(["model", "what it is", "class", "state", "parameters, 8 inputs"], rows) + "\n"


@dataclass(frozen=True)
class Entry:
    """One file of a config group: its name, its first comment, its node as shipped, and the class that it names."""

    name: str
    comment: str
    config: DictConfig
    target: Any

    @property
    def settings(self) -> str:
        """The settings as one would type them; those of conf/lengths.yaml only where they differ from it."""
        defaults: Any = OmegaConf.to_container(OmegaConf.load(CONF / "lengths.yaml"))
        return " ".join(
            f"`{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}`"
            for key, value in sorted(arguments_of(self.config).items(), key=lambda item: item[0] in defaults)
            if key not in defaults or value != defaults[key]
        )


@cache
def entry(group: str, name: str) -> Entry:
    """An entry by its name.

    Raises:
        UserError: there is no such file.
    """
    if name not in names(group):
        kind = {"model": "layer"}.get(group, group)
        raise UserError(f"there is no {kind} {name!r}{nearest(name, names(group))} (one of: {', '.join(names(group))})")
    text = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
    needed = re.findall(r"^(\w+): \?\?\?", text, re.MULTILINE)
    config = compose(f"{group}={name}", *[f"{group}.{key}='...'" for key in needed])[group]
    return Entry(name, comment_of(text), config, target_of(config, group))


def names(group: str) -> list[str]:
    """The files of a config group, without their ending."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def comment_of(text: str) -> str:
    """The comment at the head of a YAML file, as one line."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.lstrip("# ") for line in lines)


def summary_of(layer: type) -> str:
    if layer.__module__.startswith("torch."):
        return f"PyTorch's own torch.nn.{layer.__name__}."
    return inspect.cleandoc(sys.modules[layer.__module__].__doc__ or layer.__doc__ or "").partition("\n")[0]


def task_row(task: Entry) -> list[str]:
    """name, what is learned, metric, chance, solved, settings"""
    metric, chance, solved = getattr(task.target, "metric_name", ""), "", ""
    if issubclass(task.target, DrawnTask):
        drawn = instantiate(task.config, "task")
        metric, chance, solved = drawn.metric_name, significant(drawn.chance, 3), significant(drawn.solved_at, 3)
    return [f"`{task.name}`", task.comment, metric, chance, solved, task.settings]


def example(target: Any) -> str:
    """The first paragraph of a class's docstring, and its worked example if it has one."""
    text = inspect.cleandoc(target.__doc__ or "")
    lines = [f"**{target.__name__}**: {text.partition(chr(10) * 2)[0]}"]
    worked = re.search(r"^Examples?:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    if worked:
        lines.append(f"```pycon\n{inspect.cleandoc(worked[1])}\n```")
    return "\n\n".join(lines)
