"""The benchmark's Markdown, from the very values that its JSON holds."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from lrelu_bench.evidence.differences import difference
from lrelu_bench.evidence.summaries import summarize
from peers.names import AGAIN, CONTENDERS, OURS, TUNED_PEERS

TITLES = {
    "input": "Input alone",
    "ready": "Training step on a ready batch",
    "training": "Training step, input included",
    "epoch": "Warm epoch with its validation",
    "cold": "Cold run: start of the process to the final accuracy",
}
TARGETS = {("training", "relu"): 1.10, ("training", "learned_relu"): 1.35, ("cold", "relu"): 1.5}
"""By row and activation: so many times the best tuned peer's speed, on a CPU."""
FORMULA = " (peers: the plain formula in their nets)"


def markdown(found: Mapping[str, Any]) -> str:
    """The whole report."""
    return "\n".join([*_header(found), *_tables(found), *_footer(found)]) + "\n"


def targets(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each target's row says: reached, missed, or open where the interval holds the target."""
    judged = []
    for row in rows:
        wanted = TARGETS.get((row["row"], row["activation"]))
        best = None if wanted is None or row["device"] != "cpu" else best_tuned(row)
        if best is None:
            continue
        ratio = row["contenders"][best]["ours_faster_by"]
        outcome = "reached" if ratio["low"] >= wanted else "missed" if ratio["high"] < wanted else "open"
        judged.append(
            {"row": row["row"], "activation": row["activation"], "target": wanted, "against": best}
            | {"ratio": ratio, "outcome": outcome}
        )
    return judged


def best_tuned(row: Mapping[str, Any]) -> str | None:
    """The fastest tuned peer of a row."""
    peers = {name: one for name, one in row["contenders"].items() if name in TUNED_PEERS}
    rated = {name: one["ours_faster_by"]["median"] for name, one in peers.items() if "ours_faster_by" in one}
    return min(rated, key=lambda name: rated[name], default=None)


def _header(found: Mapping[str, Any]) -> Iterator[str]:
    hardware, settings = found["hardware"], found["settings"]
    device = f"{hardware['gpu']}; " if hardware["gpu"] else ""
    load = found["load_average"]
    yield f"# Beside what people use: {device}{hardware['cpu']}\n"
    yield f"- hardware: {device}{hardware['cpu']} ({hardware['cpu_capability']}), {hardware['cores']} cores,"
    yield f"  {hardware['threads']} threads; {hardware['system']}"
    yield f"- versions: {', '.join(f'{key} {value}' for key, value in found['versions'].items())}"
    yield f"- commit {found['commit']}; {found['date']}"
    yield f"- other work: load average {load['before']:.2f} before the run, {load['after']:.2f} at its end;"
    yield "  on an idle machine the first is near 0"
    yield f"- n = {settings['blocks']} blocks in rotating order; a block of steps times {settings['steps']}"
    yield f"  after {settings['warm']} untimed ones (input alone: {2 * settings['steps']})"
    yield from _ceilings(found)
    yield f"- command: `{found['command']}`"


def _ceilings(found: Mapping[str, Any]) -> Iterator[str]:
    before, after = found["ceilings"]["before"], found["ceilings"]["after"]
    best = {name: max(before[name], after[name]) for name in before}
    yield (
        f"- ceilings, in the same run: matrix product {best['matmul_gflops']:,.0f} GFLOP/s, 3x3 convolution "
        f"{best['conv3x3_gflops']:,.0f} GFLOP/s, copy {best['copy_gbs']:,.1f} GB/s"
    )
    for row in found["rows"]:
        if row["row"] == "training" and OURS in row["contenders"]:
            gflops = rate(row, OURS) * found["gflop_per_image"]
            share = gflops / best["matmul_gflops"]
            yield (
                f"- ours, {row['activation']}: {found['gflop_per_image']:.2f} GFLOP an image, so "
                f"{gflops:,.0f} GFLOP/s in training steps, {share:.2f} of the matrix product's"
            )


def _tables(found: Mapping[str, Any]) -> Iterator[str]:
    for row in found["rows"]:
        if row["row"] == "memory":
            yield from _memory(row, found)
        elif row["row"] == "parity":
            yield from _parity(row)
        else:
            yield from _times(row, found)


def _times(row: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    about = f"`{row['config']}`, {row['arch']}, {row['size']} px, batch {row['batch']}"
    peers = FORMULA if row["activation"] != "relu" else ""
    yield f"\n## {TITLES[row['row']]}, {row['activation']}{peers}\n\n{about}\n"
    unit = "images/s" if row["images"] else "seconds"
    yield f"| | precision | workers | n | {unit} (median) | ours is faster by (95 % bootstrap interval) |"
    yield "|---|---|---:|---:|---:|---:|"
    for name, one in row["contenders"].items():
        value = f"{rate(row, name):,.1f}" if row["images"] else f"{median(one['seconds']):,.2f}"
        ratio = one.get("ours_faster_by")
        by = f"{ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})" if ratio else "1"
        yield f"| {_label(name, found)} | {len(one['seconds'])} | {value} | {by} |"


def _memory(row: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## Peak memory of the processes that trained, {row['activation']}\n"
    yield "| | precision | workers | its own process | largest worker |\n|---|---|---:|---:|---:|"
    for name, one in row["contenders"].items():
        worker = f"{one['largest_worker'] / 1e9:.2f} GB" if one["workers"] and "own" in one else "–"
        own = f"{one['own'] / 1e9:.2f} GB" if "own" in one else "not told"
        yield f"| {_label(name, found)} | {own} | {worker} |"


def _parity(row: Mapping[str, Any]) -> Iterator[str]:
    subset = next(part for part in row["changes"] if part.startswith("subset="))
    yield f"\n## Accuracy after the same training, {row['activation']}\n"
    yield (
        f"`{row['config']}` with {subset}, {row['arch']}, {row['size']} px, batch {row['batch']}, "
        f"{row['epochs']} epochs, {row['precision']}; equal initial weights seed by seed\n"
    )
    yield "| | n | accuracy % (95 % t interval of the mean) | runs |\n|---|---:|---:|---|"
    percent = {name: [100 * share for share in shares] for name, shares in row["accuracies"].items()}
    for name, values in percent.items():
        one = summarize(values)
        width = "" if one.half_width is None else f" ± {one.half_width:.1f}"
        runs = ", ".join(f"{value:.1f}" for value in values)
        yield f"| {CONTENDERS[name].title} | {one.n} | {one.mean:.1f}{width} | {runs} |"
    if len(percent) == 2:
        try:
            apart = difference(*percent.values())
        except ValueError as error:
            yield f"\nNo interval of the difference: {error}."
        else:
            yield f"\nOurs less the peer's: {apart.mean:+.1f} ± {apart.half_width:.1f} points (Welch, 95 %)."


def _footer(found: Mapping[str, Any]) -> Iterator[str]:
    if found["preparation"]:
        yield "\n## Once per machine, not in any row above (n = 1)\n"
        for name, seconds in found["preparation"].items():
            yield f"- {name}: {seconds:.1f} s"
    if found["targets"]:
        yield "\n## Targets\n"
    for one in found["targets"]:
        ratio = one["ratio"]
        yield (
            f"- {TITLES[one['row']]}, {one['activation']}: at least {one['target']:.2f} times "
            f"{CONTENDERS[one['against']].title}: {one['outcome']} ({ratio['median']:.3f}, "
            f"{ratio['low']:.3f} to {ratio['high']:.3f})"
        )
    if found["cannot_run"]:
        yield "\n## Not run\n"
    for name, reason in found["cannot_run"].items():
        yield f"- {CONTENDERS[name].title}: {reason}"
    yield "\n## What is equal, and what is not\n"
    yield from NOTES


def _label(name: str, found: Mapping[str, Any]) -> str:
    one = found["contenders"][name]
    workers = "a thread" if name in (OURS, AGAIN) else one["workers"]
    return f"{CONTENDERS[name].title} | {one['precision']} | {workers}"


def rate(row: Mapping[str, Any], name: str) -> float:
    """Median images/s of a contender."""
    return float(row["images"] / median(row["contenders"][name]["seconds"]))


NOTES = (
    "- Equal: images, batch, steps, threads, initial weights, label smoothing, AdamW and its constants,",
    "  one-cycle schedule, crops' and flips' parameters, validation at the same size. Peers read the encoded",
    "  files anew each time; ours reads its decoded cache.",
    "- Tuned: our row's precision by autocast, channels_last, torch's fused AdamW, and the number of",
    "  workers that trained fastest. Default: fp32, and what each library does unasked.",
    "- fastai validates by its own transform (the whole image squashed, then a centre crop), and decays a",
    "  learned ReLU's parameters, too.",
    "- Ours includes telemetry and the search for divergence, as in every run; its cold run also writes its",
    "  result and compares it with the leaderboard. A peer's cold run prints the accuracy, no more.",
    "- The second row of ours is the noise floor: what stands there would be 1 without noise.",
)
