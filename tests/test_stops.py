"""What ends a program from outside, in processes of its own."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

WORDS = ["trainer=smoke", "model.hidden_size=4", "logger=none", "hydra.run.dir=run", "data.batch_size=4"]

WAITS = """
    import time
    from seqmodels.tasks import ParityCheck

    class Waits(ParityCheck):
        drawn = 0

        def draw(self, size, length, generator):
            Waits.drawn += 1
            if Waits.drawn == 8:
                print("waiting", flush=True)
                time.sleep({seconds})
            return super().draw(size, length, generator)
"""


@pytest.fixture
def start(tmp_path):
    """Start a command in an empty folder, in a process group of its own."""
    processes = []

    def start(*words, **options):
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
        command = [sys.executable, "-m", "seqmodels", *words]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True} | options
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for_line(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read())


def test_a_second_signal_ends_a_run_at_once(start, tmp_path):
    (tmp_path / "waits.py").write_text(textwrap.dedent(WAITS.format(seconds=100)))
    process = start("train", *WORDS, "task._target_=waits.Waits", "parity=off")
    wait_for_line(process, "waiting")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130
    assert process.stderr.read() == "error: stopped immediately, without saving\n"


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT])
def test_workers_leave_a_signal_to_the_main_process(number, start, tmp_path):
    """A terminal sends Ctrl-C, and many schedulers SIGTERM, to every process of a group."""
    (tmp_path / "waits.py").write_text(textwrap.dedent(WAITS.format(seconds=1)))
    process = start("train", *WORDS, "task._target_=waits.Waits", "parity=off", "data.num_workers=2")
    wait_for_line(process, "waiting")
    os.killpg(process.pid, number)
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "continues the run" in complaint
    assert complaint.count("\n") == 1
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    with pytest.raises(ProcessLookupError):  # no worker is left
        os.killpg(process.pid, 0)


def test_a_run_that_is_ended_before_it_begins_leaves_nothing(start, tmp_path):
    process = start("train", *WORDS)
    while not (tmp_path / "run").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 143
    assert complaint == "error: stopped by SIGTERM\n"
    assert not list(tmp_path.iterdir())


def test_two_runs_never_write_into_one_folder(start, tmp_path):
    (tmp_path / "waits.py").write_text(textwrap.dedent(WAITS.format(seconds=100)))
    first = start("train", *WORDS, "task._target_=waits.Waits", "parity=off")
    wait_for_line(first, "waiting")
    for words in (WORDS, ["resume=run", "task._target_=waits.Waits"]):
        _, complaint = (second := start("train", *words)).communicate(timeout=60)
        assert second.returncode == 1
        assert "another run is writing into" in complaint
        assert complaint.count("\n") == 1
    assert first.poll() is None


OTHER_COMMAND = pytest.param(["layers", "lru"], marks=pytest.mark.slow)


@pytest.mark.parametrize("words", [["train", *WORDS], OTHER_COMMAND, ["--help"]], ids=lambda words: words[0])
def test_an_output_that_is_closed_ends_a_command_quietly(words, start):
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*words, stdout=writing)
    os.close(writing)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in complaint
    assert "Exception" not in complaint


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("words", [["train", *WORDS], OTHER_COMMAND], ids=lambda words: words[0])
def test_an_output_that_is_full_is_reported(words, start):
    with open("/dev/full", "w") as full:
        _, complaint = (process := start(*words, stdout=full)).communicate(timeout=60)
    assert process.returncode == 1
    assert complaint.count("\n") == 1
    assert "No space left on device" in complaint


def test_a_piped_run_prints_plain_lines(start):
    shown, complaint = (process := start("train", *WORDS)).communicate(timeout=60)
    assert (process.returncode, complaint) == (0, "")
    progress = [line for line in shown.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in progress] == ["10", "20"]
    assert "train_loss" in progress[0]
    assert "val_accuracy" in progress[0]
    assert not {"\r", "\x1b"} & set(shown)
