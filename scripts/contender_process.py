"""One contender in a process of its own: answers requests of `bench_peers.py`, or with --fit trains once.

A request is a JSON line on stdin, an answer one on stdout. Nothing of the product is imported for a peer.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from peers.cell import Cell
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
        answer({"workers": contender.workers, "precision": contender.precision})
        for line in sys.stdin:
            answer(answered(contender, json.loads(line)))
    except Exception as error:
        answer({"error": " ".join(f"{type(error).__name__}: {error}".split())})
        raise


def answered(contender: Any, request: dict[str, Any]) -> dict[str, Any]:
    """What one request asks for."""
    match request["do"]:
        case "workers":
            contender.workers = request["workers"]
            return {}
        case "fit":
            fitted = contender.fit(request["seed"])
            return {"seconds": fitted.seconds, "accuracy": fitted.accuracy}
        case "memory":
            return peak_memory()
        case "input" | "ready" | "training" as row:
            return {"seconds": getattr(contender, f"{row}_seconds")(request["steps"])}
    raise ValueError(f"no such request: {request}")


def peak_memory() -> dict[str, int]:
    """Peak resident bytes of this process and of its largest worker; empty where the system does not tell."""
    if sys.platform == "win32":
        return {}
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    kinds = {"own": resource.RUSAGE_SELF, "largest_worker": resource.RUSAGE_CHILDREN}
    return {name: resource.getrusage(kind).ru_maxrss * unit for name, kind in kinds.items()}


if __name__ == "__main__":
    main()
