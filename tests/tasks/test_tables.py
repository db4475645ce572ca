"""Tables in files: what is found out about them, what is read, and which are refused."""

import re
import resource
import sys

import numpy as np
import pandas as pd
import pytest

from seqmodels.tasks.real import available_memory, csv_files
from seqmodels.tasks.real.tables import find_file, numbers, place, read_table


@pytest.fixture
def written(tmp_path):
    """Writes a text to a file, and returns its path."""

    def write(content, name="mine.csv"):
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_separator_and_decimal_mark_are_found(written, separator, decimal, ending):
    rows = [["day", "x", "y z"], ["2020-01-01", "1.5", "2"], ["2020-01-02", "-2.25e1", "3"]]
    cells = [[cell.replace(".", decimal) for cell in row] for row in rows]
    if separator == decimal:
        cells = [[f'"{cell}"' for cell in row] for row in cells]
    file = written(ending.join(separator.join(row) for row in cells) + ending)
    if separator == decimal:  # the comma might separate thousands
        with pytest.raises(ValueError, match=r"cannot tell the decimal mark of .*mine.csv, .*task\.decimal"):
            read_table(file)
    table, facts = read_table(file, decimal=decimal if separator == decimal else None)
    assert facts == {"format": "csv", "separator": separator, "decimal": decimal}
    assert list(table) == rows[0]
    np.testing.assert_array_equal(numbers(table, "x"), [1.5, -22.5])
    np.testing.assert_array_equal(numbers(table, "y z"), [2, 3])
    assert table["day"].tolist() == ["2020-01-01", "2020-01-02"]


@pytest.mark.parametrize(
    ("content", "column", "values"),
    [
        ("value\n1,5\n2\n", "value", [1.5, 2]),  # one column: the comma can only be a decimal mark
        ("\ufeffvalue\n1.5\n", "value", [1.5]),
        ("a, b\n1, 2\n", "b", [2]),
        ('a;b\n"x;y";2\n', "b", [2]),
        ("a,b\n1,2\n\n\n,\n", "b", [2]),  # empty lines at the end
    ],
)
def test_spellings_of_csv(written, content, column, values):
    table, _ = read_table(written(content))
    np.testing.assert_array_equal(numbers(table, column), values)


def test_all_formats_give_the_same_table(tmp_path):
    rng = np.random.default_rng(0)
    expected = pd.DataFrame(
        {"x": rng.standard_normal(50), "n": np.arange(50), "name": [f"s{i % 3}" for i in range(50)]}
    )
    expected.to_csv(tmp_path / "a.csv", index=False)
    expected.set_index("name").to_parquet(tmp_path / "a.parquet")  # an index is a column, too
    np.savez(
        tmp_path / "a.npz", **{name: expected[name].to_numpy(str if name == "name" else None) for name in expected}
    )
    for kind, place_of_third in [("csv", "line 4"), ("parquet", "row 3"), ("npz", "row 3")]:
        table, facts = read_table(tmp_path / f"a.{kind}", {"inputs": ["x", "n"], "id": ["name", "x"]})
        assert facts["format"] == kind
        assert list(table) == ["x", "n", "name"]
        assert place(table, 2) == place_of_third
        np.testing.assert_array_equal(numbers(table, "x"), expected["x"])
        assert table["name"].tolist() == expected["name"].tolist()
        assert list(read_table(tmp_path / f"a.{kind}", {"id": ["n"]})[0]) == ["n"]


def test_spaces_separate_where_nothing_else_does(written):
    table, facts = read_table(written("a   b\n1  2.5\n 3 4\n"))
    assert facts["separator"] == " "
    np.testing.assert_array_equal(table, [[1, 2.5], [3, 4]])
    assert list(read_table(written("one name\n1\n2\n"))[0]) == ["one name"]
    assert list(read_table(written("the date,x\n2020-01-01 00:00,1\n2020-01-01 01:00,2\n"))[0]) == ["the date", "x"]


def test_a_column_with_text_in_a_later_chunk_is_text_throughout(written, monkeypatch):
    """Otherwise the name 007 would be the number 7 as long as no other name has letters."""
    monkeypatch.setattr(csv_files, "CHUNK", 2)
    table, _ = read_table(written("id,x,y\n007,1,1\n7,2,2\n007,3,\n7a,4,4.5\n"))
    assert table["id"].tolist() == ["007", "7", "007", "7a"]
    np.testing.assert_array_equal(numbers(table, "y", gaps=True), [1, 2, np.nan, 4.5])


def test_a_point_is_no_decimal_mark_beside_commas(written):
    table, _ = read_table(written("a;x\n1;999\n2;1.000\n3;0,5\n"), decimal=",")
    with pytest.raises(ValueError, match=r"column 'x' .* found '1.000' in line 3 \(1 such rows of 3\)"):
        numbers(table, "x")


def test_columns_that_name_something_stay_text(written):
    table, _ = read_table(written("id,label,x\n01,1,01\n1,2.0,02\n"), {"id": ["id"], "label": ["label"], "x": ["x"]})
    assert table["id"].tolist() == ["01", "1"]
    assert table["label"].tolist() == ["1", "2.0"]
    assert numbers(table, "x").tolist() == [1, 2]


def test_numbers_of_another_order_of_bytes_and_texts_in_bytes(tmp_path):
    np.savez(tmp_path / "old.npz", x=np.array([1.5, 2], ">f8"), name=np.array([b"a", b"b"]))
    pd.DataFrame({"name": [b"a", b"b"]}).to_parquet(tmp_path / "bytes.parquet")
    table = read_table(tmp_path / "old.npz")[0]
    assert numbers(table, "x").tolist() == [1.5, 2]
    assert table["name"].tolist() == read_table(tmp_path / "bytes.parquet")[0]["name"].tolist() == ["a", "b"]


def test_gaps_are_allowed_by_choice_and_text_never_is(written):
    table, _ = read_table(written("x;name\n1,5;None\nNA;b\nNaN;c\n2;NA\n"))
    np.testing.assert_array_equal(numbers(table, "x", gaps=True), [1.5, np.nan, np.nan, 2])
    assert table["name"].isna().tolist() == [False, False, False, True]
    table, _ = read_table(written("x;y\n1,5;1\nten;1\n;1\n2,5;1\n"))
    with pytest.raises(ValueError, match=r"column 'x' .* found 'ten' in line 3 \(1 such rows of 4\)"):
        numbers(table, "x", gaps=True)
    with pytest.raises(ValueError, match=r"found 'ten' in line 3 \(2 such rows of 4\)"):
        numbers(table, "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a header line, and the first line of .* is empty"),
        ("\n1,2\n", "the first line of .* is empty"),
        ("1,2\n3,4\n", "a header line, and the first line of .* holds numbers: 1, 2"),
        ("a,b,a\n1,2,3\n", "the names of columns should differ, and .* has several called 'a'"),
        (
            "a,x\n1,2,3,4\n",
            "the header has 2 fields, and line 2 has 4; if a comma is not what separates them, set task.separator",
        ),
        ("a,x\n1,2\n1\n", "the header has 2 fields, and line 3 has 1"),
        ("a,x\n" + "1,2\n" * 2000 + "1,2,3\n", "the header has 2 fields, and line 2002 has 3"),
        ("x,a;b\n1,5;2\n", "cannot tell what separates the fields of .*: comma and semicolon .* set task.separator"),
        ("x;a\n1,5;2\n1.5;2\n", "cannot tell the decimal mark of .* numbers such as 1,5 and 1.5; set task.decimal"),
        ("a,X\n1,2\n", "inputs should be a column of .* (a, X), got 'x'; did you mean 'X'?"),
        (b"a,x\n\xe4,1\n", "in UTF-8"),
        (b"PK\x03\x04\xff\x00,\n1,2", "is a ZIP archive, such as a workbook: save it as CSV"),
    ],
)
def test_csv_files_that_are_refused(written, content, message):
    with pytest.raises(ValueError, match=re.escape(message).replace(r"\.\*", ".*")):
        read_table(written(content), {"inputs": ["x"]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"separator": ":"}, "separator should be ',', ';', '\\t', '|' or ' ', got ':'"),
        ({"decimal": "comma"}, "decimal should be '.' or ',', got 'comma'"),
        ({"separator": ";"}, "mine.csv, got ';', and its header is 'a,x'"),
    ],
)
def test_settings_of_csv_that_are_refused(written, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_table(written("a,x\n1,2\n"), {"x": ["x"]}, **arguments)


def test_other_files_that_are_refused(written, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is none at missing\.csv, in the working directory"):
        read_table("missing.csv")
    for name in ("no.parquet", "no.npz"):
        with pytest.raises(ValueError, match="cannot be read as one"):
            read_table(written("a,x\n1,2\n", name))
    np.savez(tmp_path / "uneven.npz", x=np.zeros(3), y=np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"has x \[3\], y \[3, 2\]"):
        read_table(tmp_path / "uneven.npz")
    np.savez(tmp_path / "complex.npz", x=np.array([1 + 2j]))
    with pytest.raises(ValueError, match=r"of numbers, texts or dates, and 'x' of .*complex.npz holds complex128"):
        read_table(tmp_path / "complex.npz")
    with pytest.raises(FileNotFoundError, match=r"path should be a table in CSV, Parquet or NPZ, and .* is a folder"):
        read_table(tmp_path)
    pd.DataFrame({"x": [[1, 2], [3]]}).to_parquet(tmp_path / "lists.parquet")
    with pytest.raises(ValueError, match=r"of numbers, texts or dates, and 'x' of .*lists.parquet holds list"):
        read_table(tmp_path / "lists.parquet")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read as one"):
        read_table(tmp_path / "objects.npz")
    pd.DataFrame({"x": pd.to_datetime(["2020-01-01"])}).to_parquet(tmp_path / "dates.parquet")
    with pytest.raises(ValueError, match="column 'x' should hold numbers, and holds dates"):
        numbers(read_table(tmp_path / "dates.parquet")[0], "x")


def test_parquet_without_pyarrow_says_what_to_install(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=re.escape('needs pyarrow: pip install "seqmodels[parquet]"')):
        read_table(written("", "a.parquet"))


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_a_table_larger_than_memory_is_refused_before_it_is_read(tmp_path, monkeypatch, kind):
    table = pd.DataFrame({"x": np.zeros(50_000), "y": np.zeros(50_000)})
    file = tmp_path / f"large.{kind}"
    if kind == "npz":
        np.savez(file, **table)
    else:
        table.to_csv(file, index=False) if kind == "csv" else table.to_parquet(file)
    needed = 2 * 8 * len(table)  # for one of the columns
    monkeypatch.setattr(available_memory, "available_memory", lambda: 1.5 * needed)
    read_table(file, {"x": ["x"]})
    with pytest.raises(ValueError, match=r"needs about 0\.0016 GB, and 0\.0012 GB are available; name fewer columns"):
        read_table(file)


def test_memory_that_is_available_is_known_here():
    available = available_memory.available_memory()
    assert available is None or 2**20 < available < 2**50


def test_reading_a_csv_file_takes_little_more_memory_than_its_columns(tmp_path):
    rows = 400_000
    (tmp_path / "long.csv").write_text("a,b,c\n" + "1.25,2.5,some text\n" * rows)
    read_table(tmp_path / "long.csv", {"x": ["a"]})  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table, _ = read_table(tmp_path / "long.csv", {"x": ["a", "b"]})
    assert len(table) == rows
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 3 * 16 * rows


def test_files_that_come_with_the_package_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_file("data/sunspots.csv").is_file()
