"""`seqmodels layers`: list the layers, or show the named ones in full."""

from pathlib import Path

from omegaconf import DictConfig

from seqmodels.commands.door import command, quick_imports
from seqmodels.commands.listing import show


@command("layers", named=True)
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.catalogue import layer_lines, layer_text, layers_page

    show(config, layer_lines, layer_text, layers_page)
