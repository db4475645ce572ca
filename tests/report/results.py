"""A result as result.json holds it, for the tests of this folder."""


def result_with(**entries):
    return {
        "model": "my_rnn", "layer": "layers.RNN", "task": "my_task", "claim": None, "seed": 7, "metric": "mse",
        "test": 0.02, "chance": 0.5, "baselines": {}, "solved": False, "solved_at": 0.01, "steps": 300,
        "best_step": 200, "seconds": 3.2, "steps_per_second": 93.75, "parameters": 4482, "unseen": None,
        "trained_lengths": None, "lengths": [],
    } | entries  # fmt: skip


LENGTHS = {
    "trained_lengths": [1, 40],
    "lengths": [
        {"length": 320, "test": 0.08, "chance": 0.6, "unseen": True},
        {"length": 40, "test": 0.02, "chance": 0.4, "unseen": False},
        {"length": 80, "test": 0.05, "chance": 0.2, "unseen": True},
    ],
    "test": 0.05,
    "unseen": 0.065,
}
