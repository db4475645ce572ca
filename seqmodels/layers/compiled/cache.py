"""From source text to a compiled function, through files that the next process finds.

The folder is `$SEQMODELS_CACHE`, or `~/.cache/seqmodels`. Its files are named by a hash of all the result depends on,
and only a folder that belongs to the user alone is trusted, as machine code is read from it. Without such a folder
code is compiled in memory.
"""

import functools
import hashlib
import importlib.util
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

Run = Callable[[Any, Any, Any, Any], None]

_LOCK = threading.RLock()


def load(source: str) -> Run:
    """The function `run` of a generated module, compiled."""
    with _LOCK:
        return _load(source)


@functools.cache
def _load(source: str) -> Run:
    from seqmodels.layers.compiled import runtime

    try:
        file = _file(source)
        runtime.CACHE = True
        if not list(file.parent.glob(f"__pycache__/{file.stem}.*.nbi")):
            _announce()
        return _execute(file.stem, file).run
    except Exception:  # an unreadable or broken folder; what is wrong with the source itself shows below
        runtime.CACHE = False
        _announce()
        module = ModuleType("seqmodels_compiled")
        exec(compile(source, "<seqmodels.layers.compiled>", "exec"), vars(module))
        return module.run
    finally:
        runtime.CACHE = False


@functools.cache
def _announce() -> None:
    """Say, once in a process, why the first call takes long. Unless a program sets up logging, stderr shows it."""
    logging.getLogger(__name__).warning("compiling loops over time for the first time, which takes some seconds")


def _file(source: str) -> Path:
    """The module with this source, written if it is not there."""
    folder = _folder()
    file = folder / f"compiled_{_digest(source)}.py"
    if not file.exists() or file.read_text() != source:
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".tmp", delete=False) as temporary:
            temporary.write(source)
        os.replace(temporary.name, file)
    return file


def _execute(name: str, file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba's cache names functions by their modules
    spec.loader.exec_module(module)
    return module


def _folder() -> Path:
    folder = Path(os.environ.get("SEQMODELS_CACHE") or Path.home() / ".cache" / "seqmodels").absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid"):
        about = folder.stat()
        if about.st_uid != os.getuid() or about.st_mode & 0o022:
            raise PermissionError(f"{folder} can be written by others")
    return folder


def _digest(source: str) -> str:
    """Of the source, of the code that it calls, and of what compiles it. numba itself checks the processor."""
    import llvmlite.binding
    import numba
    import numpy

    here = Path(__file__).parent
    parts = [source, *(file.read_text() for file in sorted(here.glob("*.py")))]
    parts += [numba.__version__, llvmlite.__version__, numpy.__version__, torch.__version__, sys.version]
    parts += [llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
