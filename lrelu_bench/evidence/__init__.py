"""From accuracies to verdicts: pure statistics, in Python and numpy."""
