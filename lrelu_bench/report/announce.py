"""What a user should know of an experiment before it runs."""

from lrelu_bench.activations.custom import unrunnable
from lrelu_bench.config import Experiment
from lrelu_bench.leaderboard import DATASETS, load_board


def remarks(experiment: Experiment) -> list[str]:
    """One line each: that it leaves its protocol, cannot run from here, or has no cell on the leaderboard."""
    lines = []
    if experiment.deviations():
        lines.append(f"custom: {', '.join(experiment.deviations())}")
    activation = experiment.activation
    if activation.is_custom and (problem := unrunnable(activation.name, activation.code)):
        lines.append(f"activation {activation.name} cannot run: {problem}")
    cell = (experiment.dataset, experiment.version, experiment.size, experiment.epochs)
    if experiment.dataset in DATASETS and load_board().row_of(*cell) is None:
        lines.append(
            f"the {experiment.version} board has no {experiment.size} px, {experiment.epochs} epoch cell: "
            "the result will stand beside no row"
        )
    return lines
