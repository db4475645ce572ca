"""What a run has stored about the files that it reads, checked: it may come from anyone."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from seqmodels.tasks.real.times import CALENDAR
from seqmodels.untrusted.reading import printable

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Number = Annotated[float, Field(allow_inf_nan=False, lt=1e100, gt=-1e100)]
Scale = Annotated[float, Field(gt=0, lt=1e100)]
Separator = Literal[",", ";", "\t", "|", " "] | None
Decimal = Literal[".", ","] | None


class Facts(BaseModel):
    """The arguments of a reader: plain data of exactly these names and types."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")

    @property
    def sizes(self) -> dict[str, Any]:
        """The arguments that the model of such files has."""
        raise NotImplementedError


class SequencesFacts(Facts):
    """The arguments of a `SequencesReader`."""

    reader: Literal["sequences"]
    inputs: list[Name] = Field(min_length=1)
    centers: list[Number]
    scales: list[Scale]
    missing: Literal["refuse", "mask", "forward"]
    id: Name | None
    label: Name | None
    every_step: bool
    classes: list[Name] | None
    center: Number
    scale: Scale
    separator: Separator
    decimal: Decimal

    @model_validator(mode="after")
    def has_a_scale_for_each_input(self) -> Self:
        if not len(self.inputs) == len(self.centers) == len(self.scales):
            raise ValueError("inputs, centers and scales should be equally many")
        return self

    @property
    def sizes(self) -> dict[str, Any]:
        return {
            "input_size": len(self.inputs) * (2 if self.missing == "mask" else 1),
            "output_size": 1 if self.classes is None else len(self.classes),
            "every_step": self.every_step,
        }


class TableFacts(Facts):
    """The arguments of a `TableReader`, and the quantiles that are answered."""

    reader: Literal["table"]
    inputs: list[Name]
    targets: list[Name] = Field(min_length=1)
    known: list[Name]
    time: Name | None
    id: Name | None
    window: int = Field(ge=1, le=10**6)
    horizon: int = Field(ge=1, le=10**6)
    difference: bool
    missing: Literal["refuse", "mask", "forward"]
    scaling: Literal["all", "series"]
    day_first: bool | None
    centers: list[list[Number]]
    scales: list[list[Scale]]
    names: list[Name] | None
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] | None
    separator: Separator
    decimal: Decimal

    @model_validator(mode="after")
    def has_a_scale_for_each_column(self) -> Self:
        columns = len({*self.inputs, *self.targets, *(name for name in self.known if name not in CALENDAR)})
        series = 1 if self.names is None else len(self.names)
        for numbers in (self.centers, self.scales):
            if len(numbers) != series or any(len(row) != columns for row in numbers):
                raise ValueError(f"centers and scales should be {series} lists of {columns} numbers")
        if (self.names is not None) != (self.scaling == "series"):
            raise ValueError("names should be those of the series that are scaled each by itself")
        if self.quantiles == []:
            raise ValueError("quantiles should not be empty")
        return self

    @property
    def sizes(self) -> dict[str, Any]:
        calendar = sum(name in CALENDAR for name in self.known)
        return {
            "input_size": len(self.inputs) * (1 + (self.missing == "mask")) + len(self.known) + calendar,
            "output_size": self.horizon * len(self.targets) * len(self.quantiles or [0.5]),
            "every_step": False,
        }


def checked(facts: Any, kind: type[Facts], model: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a result, if they are of this kind and fit a model with these arguments.

    Raises:
        ValueError: they are not as a run writes them, or those of another model.
    """
    try:
        found = kind.model_validate(facts)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, ["facts", *first["loc"]]))
        raise ValueError(f"{printable(place, 100)} is not as a run writes it: {printable(first['msg'])}") from error
    for name, size in found.sizes.items():
        if model[name] != size:
            raise ValueError(f"its facts are for a model with {name}={size}, and this one has {model[name]}")
    return found.model_dump(exclude={"reader"})
