"""The task atlas: each task in one line, with an example, from its YAML and its docstring.

python -m seqmodels.atlas > seqmodels/tasks/README.md
"""

import inspect
import itertools
import json
import re
import sys
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqmodels.config import CONF, Parser, arguments_of, compose, instantiate, target_of
from seqmodels.report import figure
from seqmodels.tasks import DrawnTask

HEADER = """# Tasks

Each line is a choice of `python train.py task=...`. Chance is the best score possible without seeing the input, in the
test as shipped. Chance and the score at which a task counts as solved are listed where sequences are drawn; elsewhere
they depend on the data. The settings of lengths that all drawn tasks share (`conf/lengths.yaml`) are left out where
they have their defaults.

This page is written by `python -m seqmodels.atlas > seqmodels/tasks/README.md` from `conf/task/` and the docstrings; a
test checks that it is up to date.
"""


@dataclass(frozen=True)
class Entry:
    """One file of conf/task."""

    name: str
    comment: str
    config: DictConfig
    task_class: Any

    @classmethod
    def read(cls, name: str) -> "Entry":
        text = (CONF / "task" / f"{name}.yaml").read_text()
        comment = " ".join(line.lstrip("# ") for line in itertools.takewhile(lambda s: s[:1] == "#", text.splitlines()))
        needed = re.findall(r"^(\w+): \?\?\?", text, re.MULTILINE)
        config = compose(f"task={name}", *[f"task.{key}='...'" for key in needed]).task
        return cls(name, comment, config, target_of(config, "task"))

    def row(self) -> str:
        """name, what is learned, metric, chance, solved, settings"""
        chance = solved = ""
        metric = getattr(self.task_class, "metric_name", "")
        if issubclass(self.task_class, DrawnTask):
            task = instantiate(self.config, "task")
            metric, chance, solved = task.metric_name, figure(task.chance, 3), figure(task.solved_at, 3)
        defaults: Any = OmegaConf.to_container(OmegaConf.load(CONF / "lengths.yaml"))
        knobs = [
            f"`{key}={json.dumps(value, separators=(',', ':')) if not isinstance(value, str) else value}`"
            for key, value in sorted(arguments_of(self.config).items(), key=lambda item: item[0] in defaults)
            if key not in defaults or value != defaults[key]
        ]
        cells = [f"`{self.name}`", self.comment, metric, chance, solved, " ".join(knobs)]
        escaped = [cell.replace("|", "\\|") for cell in cells]
        return f"| {' | '.join(escaped)} |"


def example(task_class: Any) -> str:
    """The first paragraph of a class docstring, on inputs and targets, and its worked example, if any."""
    text = inspect.cleandoc(task_class.__doc__ or "")
    first_paragraph = text.partition("\n\n")[0]
    lines = [f"**{task_class.__name__}**: {first_paragraph}"]
    worked = re.search(r"^Examples?:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    if worked:
        lines.append(f"```pycon\n{inspect.cleandoc(worked[1])}\n```")
    return "\n\n".join(lines)


def atlas() -> str:
    """All tasks as Markdown, grouped by module."""
    entries = [Entry.read(file.stem) for file in sorted((CONF / "task").glob("*.yaml"))]
    parts = [HEADER.strip()]
    entries.sort(key=lambda entry: (entry.task_class.__module__, entry.name))
    for module, members in itertools.groupby(entries, key=lambda entry: entry.task_class.__module__):
        group = list(members)
        title = inspect.cleandoc(sys.modules[module].__doc__ or module).partition("\n")[0].rstrip(".")
        parts.append(f"## {title}")
        head = "| task | what is learned | metric | chance | solved | as shipped |\n|---|---|---|---|---|---|"
        parts.append("\n".join([head, *(entry.row() for entry in group)]))
        parts += [example(task_class) for task_class in dict.fromkeys(entry.task_class for entry in group)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    Parser(prog="python -m seqmodels.atlas", description="Every task in one line, with an example.").parse_args()
    print(atlas(), end="")
