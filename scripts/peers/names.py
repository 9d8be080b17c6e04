"""The contenders by name. Nothing heavy is imported until one is built."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peers.cell import Cell


@dataclass(frozen=True)
class Kind:
    """What a contender is and where it is written."""

    title: str
    module: str
    class_name: str
    tuned: bool
    keeps_memory: bool = False
    """A peer that is given the product's setting of the C library's malloc, which nobody sets unasked."""

    def build(self, cell: "Cell", workers: int | None) -> Any:
        """The contender; raises whatever its libraries raise."""
        if self.keeps_memory:
            from lrelu_bench.training.cpu import keep_freed_memory

            keep_freed_memory()
        own = getattr(import_module(f"peers.{self.module}"), self.class_name)
        return own(cell, self.tuned, workers)


OURS, AGAIN, KEEPING = "ours", "ours-again", "torchvision-tuned-malloc"
CONTENDERS = {
    OURS: Kind("lrelu-bench", "product", "Product", True),
    AGAIN: Kind("lrelu-bench, a second time: the noise", "product", "Product", True),
    "torchvision": Kind("P1 torchvision + timm's net, default", "hand_loops", "TorchvisionTimm", False),
    "torchvision-tuned": Kind("P1 torchvision + timm's net, tuned", "hand_loops", "TorchvisionTimm", True),
    KEEPING: Kind(
        "P1 torchvision + timm's net, tuned, with our malloc setting",
        "hand_loops",
        "TorchvisionTimm",
        True,
        keeps_memory=True,
    ),
    "fastai": Kind("P2 fastai, default", "fastai_learner", "FastaiLearner", False),
    "fastai-tuned": Kind("P2 fastai, tuned", "fastai_learner", "FastaiLearner", True),
    "timm": Kind("P3 timm's loader and net, default", "hand_loops", "TimmLoader", False),
    "timm-tuned": Kind("P3 timm's loader and net, tuned", "hand_loops", "TimmLoader", True),
}
TUNED_PEERS = tuple(name for name in CONTENDERS if name.endswith("-tuned"))
"""Those that targets are judged against: what people use today, which `KEEPING` is not."""
DEFAULT_PEERS = tuple(name for name, kind in CONTENDERS.items() if not kind.tuned)
