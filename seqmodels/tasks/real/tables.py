"""Tables in files: CSV, Parquet and NPZ."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqmodels.tasks.real.available_memory import check_memory
from seqmodels.tasks.real.columns import Asked, check_columns, numbers, place, placed
from seqmodels.tasks.real.csv_files import read_csv

__all__ = ["find_file", "numbers", "place", "read_table"]


def read_table(
    path: str | Path, columns: Asked | None = None, separator: str | None = None, decimal: str | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Some columns of a table in a file, and what was found out about the file.

    The index says where in the file a row is, for messages (`place`): its name is "line" or "row". A file that ends in
    .parquet or .npz is read as such, any other one as CSV in UTF-8 with a header line. An NPZ file has an array for
    each column.

    Args:
        path: see `find_file`.
        columns: the columns to keep, such as {"inputs": ["x", "y"], "id": ["name"]}; all of them if not given.
        separator: between the fields of a CSV file: a comma, a semicolon, a tab, a bar or spaces; found if not given.
        decimal: the decimal mark of a CSV file, "." or ","; found if not given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read as a table, lacks a column, has two of the same name, does not fit into
            memory, or is a Parquet file and pyarrow is not installed.
    """
    file = find_file(path)
    match file.suffix.lower():
        case ".parquet":
            return read_parquet(file, columns), {"format": "parquet"}
        case ".npz":
            return read_npz(file, columns), {"format": "npz"}
    return read_csv(file, columns, separator, decimal)


def find_file(path: str | Path, argument: str = "path", expected: str = "a table in CSV, Parquet or NPZ") -> Path:
    """The file at a path, in the working directory or, of `data/`, in the package.

    Raises:
        FileNotFoundError: there is none; the message mentions the argument, and what is expected.
    """
    package = Path(__file__).parents[2]
    bundled = Path(path).parts[:1] == ("data",)
    # an installed package carries data/ inside, a checkout has it beside the package
    for folder in (Path(), package, package.parent) if bundled else (Path(),):
        file = folder / Path(path).expanduser()
        if file.is_file():
            return file
    where = "" if Path(path).expanduser().is_absolute() else f", in the working directory {Path.cwd()}"
    fault = (
        f"{path} is a folder" if str(path) and Path(path).expanduser().is_dir() else f"there is none at {path}{where}"
    )
    raise FileNotFoundError(f"{argument} should be {expected}, and {fault if str(path) else 'is empty'}")


def read_parquet(file: Path, columns: Asked | None) -> pd.DataFrame:
    try:
        from pyarrow import ArrowException, parquet, types
    except ImportError as error:
        raise ValueError(f'reading {file} needs pyarrow: pip install "seqmodels[parquet]"') from error
    try:
        opened = parquet.ParquetFile(file)
        kept = check_columns(file, opened.schema_arrow.names, columns)
        packed = sum(opened.metadata.row_group(i).total_byte_size for i in range(opened.metadata.num_row_groups))
        check_memory(
            file, 2 * max(8 * opened.metadata.num_rows * len(kept), packed * len(kept) / len(opened.schema_arrow))
        )
        read = opened.read(kept, use_threads=False)
        for place, part in enumerate(read.schema):
            if types.is_nested(part.type) or types.is_duration(part.type):
                raise ValueError(
                    f"path should be a Parquet file of numbers, texts or dates, and {part.name!r} of {file} holds "
                    f"{part.type}"
                )
            if types.is_binary(part.type) or types.is_large_binary(part.type):
                read = read.set_column(place, part.name, read.column(place).cast("string"))
        table = read.to_pandas(ignore_metadata=True)
    except ArrowException as error:
        raise ValueError(f"path should be a Parquet file, and {file} cannot be read as one: {error}") from error
    return placed(table, "row", 1)


def read_npz(file: Path, columns: Asked | None) -> pd.DataFrame:
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"path should be an NPZ file, and {file} cannot be read as one: {error}") from error
    kept = check_columns(file, list(sizes), columns)
    check_memory(file, 2 * sum(sizes[name] for name in kept))
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name].astype(arrays[name].dtype.newbyteorder("=")) for name in kept}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:  # such as objects, which may hold code
        raise ValueError(f"path should be an NPZ file of numbers or texts, and {file} cannot be read as one") from error
    shapes = {name: array.shape for name, array in found.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(
            f"path should be an NPZ file with an array of one length for each column, and {file} has {listed}"
        )
    for name, array in found.items():
        if array.dtype.kind not in "biufUSM":
            raise ValueError(
                f"path should be an NPZ file of numbers, texts or dates, and {name!r} of {file} holds {array.dtype}"
            )
    texts = {
        name: np.char.decode(array, "utf-8", "replace") for name, array in found.items() if array.dtype.kind == "S"
    }
    return placed(pd.DataFrame(found | texts), "row", 1)
