"""The imports of every run. A process that has made them starts a run by forking, which saves four seconds.

Nothing else may be done here: a process that forks must not have started a thread or used a GPU.
"""

import gc
import os
import sys
from multiprocessing import forkserver

if forks := getattr(sys.modules["__main__"], "main", None) is forkserver.main:
    os.setsid()  # so that Ctrl-C and the end of a terminal do not end it before the runs have saved their state
    gc.disable()  # as `quick_imports` does

import matplotlib.backends.backend_agg  # noqa: F401
import PIL.Image
import pydantic
import torch.utils.tensorboard  # noqa: F401

import seqmodels.layers
import seqmodels.runs.run  # noqa: F401

# These import more at their first use.
PIL.Image.preinit()
pydantic.TypeAdapter(int).validate_python(1)

if forks:
    gc.freeze()  # the collector of a run would otherwise copy all of these objects by touching them
    gc.enable()
