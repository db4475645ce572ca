"""What `seqmodels tasks` and `seqmodels layers` have in common: a line for each entry, or some entries in full."""

from collections.abc import Callable, Iterable

from omegaconf import DictConfig

from seqmodels.checks import UserError, check_flag
from seqmodels.config import arguments_of


def show(
    config: DictConfig,
    lines: Callable[[], Iterable[tuple[str, str]]],
    text: Callable[[str], str],
    page: Callable[[], str],
) -> None:
    """Print the lines, the texts of the entries in `config.name`, or with `config.markdown` the page of all."""
    try:
        check_flag("markdown", config.markdown)
    except TypeError as error:
        raise UserError(str(error)) from error
    if config.markdown:
        print(page(), end="")
    elif config.name is None:
        entries = list(lines())
        width = max(len(name) for name, _ in entries)
        for name, line in entries:
            print(f"{name:<{width}}  {line}")
    else:
        names = arguments_of(config)["name"]
        print("\n\n\n".join(text(str(name)) for name in (names if isinstance(names, list) else [names])))
