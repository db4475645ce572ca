"""Files that may come from anyone: read up to a limit, as plain data, and shown as plain text."""

import json
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from seqmodels.checks import UserError
from seqmodels.files import digest_of

CONFIG_LIMIT = 2**18
RESULT_LIMIT = 2**24
"""Bytes. A config is written in 1 to 5 KB, a result in 3 to 50 KB, or in some MB with the scales of many series."""


class RunFolderError(UserError):
    """A file of a run folder is missing, damaged, or not what a run writes. The message names the file."""


class MissingFileError(RunFolderError, FileNotFoundError):
    """A file that every run folder needs is missing."""


@contextmanager
def run_folder_errors(file: Path) -> Iterator[None]:
    """Turn any exception about the content of a file into a `RunFolderError` that names the file.

    Parsers raise exceptions of many types about a file that was made to break them, and no list of them is complete.
    """
    try:
        yield
    except RunFolderError:
        raise
    except zipfile.BadZipFile as error:
        raise RunFolderError(f"{printable(file)} is damaged, or not a checkpoint: {printable(error)}") from error
    except RecursionError as error:
        raise RunFolderError(f"{printable(file)} is nested too deeply") from error
    except Exception as error:
        raise RunFolderError(f"{printable(file)}: {printable(str(error) or type(error).__name__)}") from error


def size_of(file: Path) -> int:
    """The size of a regular file in bytes.

    Raises:
        MissingFileError: it does not exist.
        RunFolderError: it is not a regular file but a folder, a pipe or a device, which might never end.
    """
    with run_folder_errors(file):
        try:
            status = file.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            where = printable(file.parent)
            problem = f"{where} has no {file.name}" if file.parent.is_dir() else f"there is no folder {where}"
            raise MissingFileError(f"expected a run folder, but {problem}") from error
        if not stat.S_ISREG(status.st_mode):
            raise RunFolderError(f"{printable(file)} is not a regular file")
        return status.st_size


def read_file(file: Path, limit: int | None = None, digest: str | None = None) -> bytes:
    """The content of a regular file.

    Args:
        limit: the most bytes that the file may have.
        digest: the SHA-256 digest that it should have, if one was stored.

    Raises:
        RunFolderError: it is missing, too large, changed, or cannot be read.
    """
    size = size_of(file)
    if limit is not None and size > limit:
        raise RunFolderError(f"{printable(file)} should have at most {limit} bytes, got {size}")
    with run_folder_errors(file):
        with file.open("rb") as opened:
            content = opened.read(size)
        if digest is not None and digest != digest_of(content):
            raise RunFolderError(
                f"{printable(file)} has changed since the run: its digest does not match the stored one"
            )
    return content


def read_config(file: Path, digest: str | None = None) -> dict[str, Any]:
    """The config of a run folder in plain containers. Nothing in it is resolved.

    Raises:
        RunFolderError: the file is missing or too large, does not have the digest that was stored for it, is not plain
            YAML, or holds an interpolation such as ${oc.env:HOME}, which no run writes.
    """
    content = read_file(file, CONFIG_LIMIT, digest)
    with run_folder_errors(file):
        try:
            config = yaml.load(content.decode(), PlainLoader)
        except yaml.MarkedYAMLError as error:  # its own message would quote the file
            line = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
            raise RunFolderError(f"{printable(file)} is not plain YAML{line}: {printable(error.problem)}") from None
        if not isinstance(config, dict):
            raise RunFolderError(f"{printable(file)} should hold the settings of a run, got {type(config).__name__}")
        for name in interpolations(config):
            raise RunFolderError(
                f"{printable(file)}: {printable(name)} is an interpolation; a run writes its config resolved, "
                "so this one was not written by a run, or was changed"
            )
    return config


def read_result(file: Path, limit: int = RESULT_LIMIT) -> dict[str, Any]:
    """The content of a result.json, or of another JSON object of at most `limit` bytes.

    Raises:
        RunFolderError: the file is missing, too large, not a JSON object, or has malformed digests.
    """
    content = read_file(file, limit)
    with run_folder_errors(file):
        try:
            result = json.loads(content)
        except ValueError as error:
            raise RunFolderError(f"{printable(file)} is not JSON: {printable(error)}") from error
        if not isinstance(result, dict):
            got = printable(json.dumps(result), 60)
            raise RunFolderError(f"{printable(file)} is damaged: it should hold a JSON object, got {got}")
        digests_in(result)
    return result


def digests_in(result: dict[str, Any]) -> dict[str, str]:
    """The SHA-256 digests of other files that a result holds; none in one of an earlier version.

    Raises:
        ValueError: they are malformed.
    """
    digests = result.get("digests") or {}
    if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
        raise ValueError("digests should be names of files with their SHA-256 digests")
    return digests


def interpolations(value: Any, name: str = "") -> Iterator[str]:
    """The dotted names of all settings that OmegaConf would interpolate."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if "${" in str(key):
                yield f"a key of {name or 'the config'}"
            yield from interpolations(inner, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from interpolations(inner, f"{name}[{index}]")
    elif isinstance(value, str) and "${" in value:
        yield name


def printable(value: object, longest: int = 300) -> str:
    r"""Text for a terminal or a table, at most `longest` characters long and in one line.

    What does not print, such as a terminal's escape sequences, line breaks, and marks that change the direction of
    writing, is shown as in Python's source: `\x1b`, `\n`, `\u202e`.
    """
    text = str(value)
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def without_markup(text: str) -> str:
    """Text that a Markdown page shows as it is."""
    return re.sub(r"([\\`*\[\]<>])", r"\\\1", text)


class PlainLoader(yaml.SafeLoader):
    """YAML as OmegaConf writes it: mappings, lists, strings, whole numbers, numbers, booleans and null.

    There are no aliases, so that a short text cannot stand for a large structure, no further types, and no repeated
    keys, the first of which a reader may take for the one that counts.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "an alias, which no run writes", mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind not in ("map", "seq", "str", "int", "float", "bool", "null"):
            problem = f"a value of type {printable(kind, 50)}, which no run writes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_object(node, deep)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next(key for index, (key, _) in enumerate(node.value) if key.value in keys[:index])
            problem = f"the key {printable(twice.value, 50)} occurs twice, which no run writes"
            raise yaml.constructor.ConstructorError(None, None, problem, twice.start_mark)
        return mapping


for kind, pattern, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,30})", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.?[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(rf"^(?:{pattern})$"), list(first))
