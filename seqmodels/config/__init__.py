"""From what a user types to checked objects: compose a config, check it, construct what its nodes describe.

Every mistake ends in a `UserError` that says what came, what was expected and the nearest right spelling.
"""

from seqmodels.config.compose import compose
from seqmodels.config.construct import arguments_of, instantiate, layer_of, target_of
from seqmodels.config.folders import CONF, PACKAGE
from seqmodels.config.mistakes import user_errors

__all__ = ["CONF", "PACKAGE", "arguments_of", "compose", "instantiate", "layer_of", "target_of", "user_errors"]
