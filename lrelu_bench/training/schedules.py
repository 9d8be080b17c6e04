"""Learning rate and momentum as functions of the share of training done. Pure Python."""

from math import cos, pi

from lrelu_bench.protocols import Recipe


def cosine(start: float, end: float, share: float) -> float:
    """From `start` to `end` along half a cosine, `share` in [0, 1]."""
    return end + (start - end) / 2 * (1 + cos(pi * share))


def one_cycle(recipe: Recipe, step: int, steps: int) -> tuple[float, float]:
    """(learning rate, momentum) at a 0-based step: cosine up to the peak, cosine down.

    The rising phase has ``int(steps * pct_start)`` steps, as in fastai 1's OneCycleScheduler.
    """
    rising = int(steps * recipe.pct_start)
    if step < rising:
        share = step / rising
        return (
            cosine(recipe.lr / recipe.div_start, recipe.lr, share),
            cosine(recipe.momentum_max, recipe.momentum_min, share),
        )
    share = (step - rising) / (steps - rising)
    return (
        cosine(recipe.lr, recipe.lr / recipe.div_end, share),
        cosine(recipe.momentum_min, recipe.momentum_max, share),
    )


def flat_cos(recipe: Recipe, step: int, steps: int) -> tuple[float, float]:
    """(learning rate, momentum) at a 0-based step: flat, then cosine to lr / div_end (fastai2)."""
    share = (step / steps - recipe.pct_start) / (1 - recipe.pct_start) if recipe.pct_start < 1 else 0.0
    return cosine(recipe.lr, recipe.lr / recipe.div_end, max(share, 0.0)), recipe.momentum_max


SCHEDULES = {"one_cycle": one_cycle, "flat_cos": flat_cos}
