"""One contender in a process of its own: answers requests of `bench_peers.py`, or with --fit trains once.

A request is a JSON line on stdin, an answer one on stdout. Nothing of the product is imported for a peer.
"""

import argparse
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from peers.cell import Cell
from peers.contender import Window
from peers.names import CONTENDERS


def main() -> None:
    """Serve, or train once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cell", type=Path)
    parser.add_argument("name", choices=list(CONTENDERS))
    parser.add_argument("--workers", type=int)
    parser.add_argument("--fit", action="store_true", help="train once, print the accuracy and end")
    options = parser.parse_args()
    # Libraries print; what they print must not stand between answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    try:
        contender = CONTENDERS[options.name].build(Cell.load(options.cell), options.workers)
        if options.fit:
            answer({"accuracy": contender.fit(0).accuracy})
            return
        answer({"precision": contender.precision, **loading(contender)})
        for line in sys.stdin:
            found = answered(contender, json.loads(line))
            # Before another's turn: a loader left in a cycle would keep its workers, and a net its memory.
            gc.collect()
            answer(found)
    except Exception as error:
        answer({"error": " ".join(f"{type(error).__name__}: {error}".split())})
        raise


def loading(contender: Any) -> dict[str, Any]:
    """What prepares its batches."""
    return {"workers": contender.workers, "input_by": contender.input_by}


def answered(contender: Any, request: dict[str, Any]) -> dict[str, Any]:
    """What one request asks for."""
    match request["do"]:
        case "workers":
            contender.workers = request["workers"]
            return loading(contender)
        case "fit":
            fitted = contender.fit(request["seed"])
            return {"epochs": fitted.epochs, "accuracy": fitted.accuracy}
        case "memory":
            return peak_memory()
        case "input" | "ready" | "training" as row:
            window = Window(request["steps"], request["warm"])
            getattr(contender, row)(window)
            return {"seconds": window.result()}
        case "profile":
            found: dict[str, Any] = contender.profile(request["steps"], request["warm"])
            return found
        case "kernels":
            return {"shapes": contender.kernels(request["blocks"])}
    raise ValueError(f"no such request: {request}")


def peak_memory() -> dict[str, int]:
    """Peak bytes so far: resident, of this process and of its largest worker, and allocated on the GPU.

    Empty where the system does not tell.
    """
    if sys.platform == "win32":
        return {}
    import resource

    import torch

    unit = 1 if sys.platform == "darwin" else 1024
    kinds = {"own": resource.RUSAGE_SELF, "largest_worker": resource.RUSAGE_CHILDREN}
    found = {name: resource.getrusage(kind).ru_maxrss * unit for name, kind in kinds.items()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found["gpu"] = torch.cuda.max_memory_allocated()
    return found


if __name__ == "__main__":
    main()
