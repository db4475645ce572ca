"""How much memory a process may still use: what the machine has left, within the limits of its control groups."""

from pathlib import Path


def check_memory(path: str | Path, needed: float) -> None:
    """Refuse a file that needs more bytes of memory than are available, with a ValueError."""
    available = available_memory()
    if available is not None and needed > available:
        raise ValueError(
            f"path should be a table that fits into memory: {path} needs about {gigabytes(needed)}, "
            f"and {gigabytes(available)} are available; name fewer columns, or split the file"
        )


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.2g} GB"


def available_memory() -> int | None:
    """Bytes; None where the system does not say, as outside Linux."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        available = 1024 * int(lines["MemAvailable"].split()[0])
        group = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]  # of version 2
    except (OSError, KeyError, ValueError):
        return None
    root = Path("/sys/fs/cgroup")
    folder = root / group.lstrip("/")
    for level in (folder, *folder.parents):
        if level == root.parent:
            break
        available = min(available, left_in(level, available))
    return available


def left_in(group: Path, otherwise: int) -> int:
    """Bytes that a control group may still use, cached files not counted; `otherwise` where it has no limit."""
    try:
        limit, used = int((group / "memory.max").read_text()), int((group / "memory.current").read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return limit - used + int(counts["file"])
    except (OSError, KeyError, ValueError):  # "max": no limit
        return otherwise
