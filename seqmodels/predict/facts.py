"""The readers of files, made from what a run has stored about them; it may come from anyone."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from seqmodels.tasks.real.sequences_reader import SequencesReader
from seqmodels.untrusted.reading import printable

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Mark = Literal[",", ";", "\t", "|"] | None


class Facts(BaseModel):
    """Plain data of exactly these names and types."""

    model_config = ConfigDict(strict=True, extra="forbid")


class SequencesFacts(Facts):
    """The arguments of a `SequencesReader`."""

    reader: Literal["sequences"]
    inputs: list[Name] = Field(min_length=1)
    centers: list[Number]
    scales: list[Scale]
    missing: Literal["refuse", "mask", "fill"]
    id: Name | None
    label: Name | None
    every_step: bool
    classes: list[Name] | None
    center: Number
    scale: Scale
    separator: Mark
    decimal: Literal[".", ","] | None

    @model_validator(mode="after")
    def has_a_scale_for_each_input(self) -> Self:
        if not len(self.inputs) == len(self.centers) == len(self.scales):
            raise ValueError("inputs, centers and scales should be equally many")
        return self

    @property
    def input_size(self) -> int:
        return len(self.inputs) * (2 if self.missing == "mask" else 1)

    @property
    def output_size(self) -> int:
        return 1 if self.classes is None else len(self.classes)

    def make(self) -> SequencesReader:
        return SequencesReader(**self.model_dump(exclude={"reader"}))


def reader_from(facts: Any, sizes: Mapping[str, Any]) -> SequencesReader:
    """The reader that these facts describe, if it fits a model of these sizes.

    Raises:
        ValueError: the facts are not those of a reader, or of one for another model.
    """
    kinds: dict[Any, type[SequencesFacts]] = {"sequences": SequencesFacts}
    kind = facts.get("reader") if isinstance(facts, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError("its task has no reader of files: predict needs a run with task=table or task=sequences")
    try:
        checked = kinds[kind](**facts)
    except (ValidationError, TypeError) as error:
        raise ValueError(f"its facts are not as a run writes them: {problem(error)}") from error
    for name in ("input_size", "output_size", "every_step"):
        if getattr(checked, name) != sizes[name]:
            raise ValueError(
                f"its facts are those of another model, with {name}={getattr(checked, name)}, got {sizes[name]}"
            )
    return checked.make()


def problem(error: Exception) -> str:
    """The first thing that pydantic has found, in a few words."""
    if not isinstance(error, ValidationError):
        return printable(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return printable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": "))
