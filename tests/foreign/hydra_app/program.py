"""A Hydra application with a conf/ and a group `model` of its own, which takes layers and tasks from seqmodels."""

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    import torch  # it takes seconds, and --help should not wait for it

    from seqmodels.batches import Batches
    from seqmodels.model import SequenceModel

    task = instantiate(config.task)
    layer = instantiate(config.layer, _partial_=True)
    sequence_model = SequenceModel(layer, task.input_size, task.output_size, task.tokens, task.every_step)
    model = torch.nn.Sequential(sequence_model, torch.nn.Dropout(config.model.dropout))
    optimizer = instantiate(config.optimizer)(model.parameters())
    for inputs, targets in Batches(task, "train", seed=1, size=config.batch_size, indices=range(config.steps)):
        loss = task.loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{type(sequence_model.layer).__name__} {type(task).__name__} {config.model.name} {loss.item():.3f}")


if __name__ == "__main__":
    main()
