"""One visible training loop and its parts: optimizers, schedules, precision."""
