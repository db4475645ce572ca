"""The common part of `seqmodels tasks` and `seqmodels layers`: a line for each entry, or some entries in full."""

from collections.abc import Callable, Iterable

from omegaconf import DictConfig

from seqmodels.checks import as_user_errors, check_flag
from seqmodels.config import arguments_of


def show(
    config: DictConfig,
    lines: Callable[[], Iterable[tuple[str, str]]],
    text: Callable[[str], str],
    page: Callable[[], str],
) -> None:
    """Print the lines, the texts of the entries in `config.name`, or with `config.markdown` the page of all."""
    with as_user_errors():
        check_flag("markdown", config.markdown)
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
