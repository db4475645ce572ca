"""What a run has stored about the files that it reads, checked: it may come from anyone."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from seqmodels.untrusted.reading import printable

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Number = Annotated[float, Field(allow_inf_nan=False, lt=1e100, gt=-1e100)]
Scale = Annotated[float, Field(gt=0, lt=1e100)]
Separator = Literal[",", ";", "\t", "|"] | None
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
    return found.model_dump()
