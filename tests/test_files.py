"""Atomic writes, and archives that detect damage."""

import io
import zipfile

import pytest
import torch

from seqmodels.files import is_sealed, sealed, write_whole


def archive():
    buffer = io.BytesIO()
    torch.save({"weight": torch.arange(12.0)}, buffer)
    return buffer.getvalue()


def test_a_file_is_replaced_whole(tmp_path):
    file = tmp_path / "file"
    write_whole(file, b"old")
    write_whole(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_whole(file, b"old")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_sealed_archive_still_opens(tmp_path):
    file = tmp_path / "archive"
    file.write_bytes(sealed(archive()))
    assert is_sealed(file.read_bytes())
    assert torch.load(file, weights_only=True)["weight"].sum() == 66
    assert zipfile.ZipFile(file).comment.startswith(b"sha256:")
    assert not is_sealed(archive())


def test_a_sealed_archive_notices_every_flipped_bit_of_its_content():
    whole = sealed(archive())
    for place in range(0, len(whole) - 73, 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        with pytest.raises(ValueError, match="does not match"):
            is_sealed(bytes(damaged))
