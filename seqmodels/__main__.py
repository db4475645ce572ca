"""The command line: `seqmodels VERB ...`, or `python -m seqmodels VERB ...`."""

import sys
from importlib import import_module

from seqmodels import __version__
from seqmodels.checks import nearest
from seqmodels.stops import output_that_may_end

VERBS = {
    "train": "train a model on a task, after proving its layer equal to its reference; the same as python train.py",
    "parity": "compare a layer with its reference, and train nothing",
    "trace": "show a layer's arithmetic step by step, and with backward=true that of its gradients",
    "tasks": "list the tasks; with a name, show one",
    "layers": "list the layers; with a name, show its equations, arguments and paper",
    "predict": "apply a finished model to other files of your own, or to a stream",
    "export": "write the model of a run as an ONNX file or a program of torch.export",
    "results": "show a table of finished runs",
    "tune": "search for the settings with the best validation score, with the same budget for each model",
    "compare": "compare finished runs over their seeds, with intervals",
    "page": "write an HTML page for a run, or for a comparison of runs",
    "claims": "repeat published experiments, and judge which claims hold",
    "benchmark": "time layers against torch.nn's",
    "overhead": "time train.py against a hand-written loop of the same job",
}


def main(words: list[str] | None = None) -> None:
    """Pass the words after the verb on to its command, which is imported only now."""
    verb, *rest = (sys.argv[1:] if words is None else words) or ["--help"]
    with output_that_may_end():
        if verb in ("--help", "-h"):
            print(usage())
        elif verb == "--version":
            print(f"seqmodels {__version__}")
        elif verb in VERBS:
            import_module(f"seqmodels.commands.{verb}").main(rest)
        else:
            print(f"error: there is no verb {verb}{nearest(verb, VERBS)} (one of: {', '.join(VERBS)})", file=sys.stderr)
            raise SystemExit(1)


def usage() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {line}" for verb, line in VERBS.items()]
    return "\n".join(
        ["seqmodels VERB [KEY=VALUE ...]", "", *lines, "", "seqmodels VERB --help shows what can be chosen and set."]
    )


if __name__ == "__main__":
    main()
