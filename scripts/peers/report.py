"""The benchmark's Markdown, from the very values that its JSON holds."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from lrelu_bench.evidence.differences import difference
from lrelu_bench.evidence.summaries import summarize
from peers.names import AGAIN, CONTENDERS, KEEPING, OURS
from peers.report_step import kernel_tables, profile_table
from peers.targets import LEAST_BLOCKS

TITLES = {
    "input": "Input alone",
    "ready": "Training step on a ready batch",
    "training": "Training step, input included",
    "epoch": "Warm epoch with its validation",
    "cold": "Cold run: start of the process to the final accuracy",
}
FORMULA = " (peers: the plain formula in their nets)"


def markdown(found: Mapping[str, Any]) -> str:
    """The whole report."""
    parts = (_header, _notes, _targets, _not_run, _tables, _preparation)
    return "\n".join(line for part in parts for line in part(found)) + "\n"


def _header(found: Mapping[str, Any]) -> Iterator[str]:
    hardware, settings, load = found["hardware"], found["settings"], found["load_average"]
    device = f"{hardware['gpu']}; " if hardware["gpu"] else ""
    yield f"# Beside what people use: {device}{hardware['cpu']}, {hardware['cores']} cores\n"
    if found["quick"]:
        yield "**Made with `--quick`: it shows that the benchmark works, and its figures mean nothing.**\n"
    yield (
        f"- hardware: {device}{hardware['cpu']} ({hardware['cpu_capability']}), cores: {hardware['cores']}, "
        f"threads of each process: {hardware['threads']}; {hardware['system']}"
    )
    yield f"- versions: {', '.join(f'{key} {value}' for key, value in found['versions'].items())}"
    yield f"- commit {found['commit']}; {found['date']}; {found['minutes']:.0f} minutes"
    yield f"- other work: load average {load['before']:.2f} before the run, {load['after']:.2f} at its end"
    yield "  (the benchmark's own is 1 to 3; on an idle machine the first is near 0)"
    yield (
        f"- blocks in rotating order: {settings['blocks']} of steps, {settings['run_blocks']} of epochs and "
        f"cold runs; default peers have {settings['default_blocks']} of either. A block times "
        f"{settings['steps']} steps (input alone: {settings['input_steps']} batches) after "
        f"{settings['warm']} untimed ones"
    )
    yield "- every ratio: the peer's time by ours in the same block, median over blocks (n) with a 95 %"
    yield "  bootstrap interval, which in simulations holds the true median in 94 % of cases at n = 5, 6"
    yield "  and 9, in 88 % at n = 7, in 75 % at n = 3, and in half of them at n = 2"
    yield from _ceilings(found)
    yield f"- command: `{found['command']}`"


def _ceilings(found: Mapping[str, Any]) -> Iterator[str]:
    best = best_ceilings(found)
    yield (
        f"- ceilings, in the same run: matrix product {best['matmul_gflops']:,.0f} GFLOP/s, 3x3 convolution "
        f"{best['conv3x3_gflops']:,.0f} GFLOP/s, copy {best['copy_gbs']:,.1f} GB/s read and written"
    )
    for row in found["rows"]:
        if row["row"] in ("ready", "training") and OURS in row["contenders"]:
            gflops = rate(row, OURS) * found["gflop_per_image"]
            yield (
                f"- share of the roofline, {TITLES[row['row']].lower()}, {row['activation']}: "
                f"{found['gflop_per_image']:.2f} GFLOP an image make {gflops:,.0f} GFLOP/s, "
                f"{gflops / best['matmul_gflops']:.2f} of the matrix product's and "
                f"{gflops / best['conv3x3_gflops']:.2f} of the convolution's"
            )


def best_ceilings(found: Mapping[str, Any]) -> dict[str, float]:
    """The better of those before and after the rows."""
    before, after = found["ceilings"]["before"], found["ceilings"]["after"]
    return {name: max(before[name], after[name]) for name in before}


def _notes(found: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## What is equal, and what differs\n"
    yield from EQUAL
    if KEEPING in found["contenders"]:
        yield from MALLOC
    if found["hardware"]["gpu"]:
        yield from ON_GPU


def _targets(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["targets"]:
        return
    yield "\n## Targets\n"
    yield (
        "Reached: the whole interval is at or above the target. Missed: all of it is below. Open: neither, "
        f"or fewer than {LEAST_BLOCKS} blocks. "
        "Held against the fastest tuned peer of the row; picking the fastest favours the peer.\n"
    )
    yield "| row | target | fastest tuned peer | ours is faster by | | than P1 with our malloc | than ours |"
    yield "|---|---:|---|---:|---|---:|---:|"
    for one in found["targets"]:
        yield (
            f"| {TITLES[one['row']]}, {one['activation']} | {one['target']:.2f} "
            f"| {CONTENDERS[one['against']].title} | {_interval(one['ratio'])} | **{one['outcome']}** "
            f"| {_interval(one['with_our_malloc'])} | {_interval(one['noise'])} |"
        )


def _not_run(found: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Not run\n"
    for name, reason in found["cannot_run"].items():
        yield f"- {CONTENDERS[name].title}: {reason}"
    if not found["cannot_run"]:
        yield "Every contender of the command ran."


def _tables(found: Mapping[str, Any]) -> Iterator[str]:
    for row in found["rows"]:
        if row["row"] == "memory":
            yield from _memory(row, found)
        elif row["row"] == "parity":
            yield from _parity(row)
        elif row["row"] == "kernels":
            yield from kernel_tables(row)
        elif row["row"] == "profile":
            yield from profile_table(row, found["gflop_per_image"], best_ceilings(found)["conv3x3_gflops"])
        else:
            yield from _times(row, found)


def _times(row: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    about = f"`{row['config']}` with {', '.join(row['changes'])}: {row['arch']}, {row['size']} px, batch"
    peers = FORMULA if row["activation"] != "relu" else ""
    yield f"\n## {TITLES[row['row']]}, {row['activation']}{peers}\n\n{about} {row['batch']}\n"
    unit = "images/s" if row["images"] else "seconds"
    yield f"| | precision | input by | n | {unit} (median) | ours is faster by |"
    yield "|---|---|---|---:|---:|---:|"
    for name, one in row["contenders"].items():
        value = f"{rate(row, name):,.1f}" if row["images"] else f"{median(one['seconds']):,.2f}"
        by = _interval(one["ours_faster_by"]) if "ours_faster_by" in one else "1"
        yield f"| {_label(name, found, one.get('workers'))} | {len(one['seconds'])} | {value} | {by} |"


def _interval(ratio: Mapping[str, float] | None) -> str:
    if ratio is None:
        return "–"
    # One block has no interval.
    width = f" ({ratio['low']:.3f} to {ratio['high']:.3f})" if ratio["low"] < ratio["high"] else ""
    return f"{ratio['median']:.3f}{width}"


def _memory(row: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## Peak memory of the processes that trained, {row['activation']}\n"
    yield (
        "Resident, with the libraries; what processes share counts in each. Tuned peers' processes have also "
        "tried other numbers of workers (n = 1).\n"
    )
    gpu = any("gpu" in one for one in row["contenders"].values())
    yield "| | precision | input by | its own process | largest worker |" + (" on the GPU |" if gpu else "")
    yield "|---|---|---|---:|---:|" + ("---:|" if gpu else "")
    for name, one in row["contenders"].items():
        worker = _gigabytes(one.get("largest_worker")) if one["workers"] else "–"
        tail = f" {_gigabytes(one.get('gpu'))} |" if gpu else ""
        yield f"| {_label(name, found)} | {_gigabytes(one.get('own'))} | {worker} |{tail}"


def _gigabytes(count: int | None) -> str:
    return "not told" if count is None else f"{count / 1e9:.2f} GB"


def _parity(row: Mapping[str, Any]) -> Iterator[str]:
    subset = next(part for part in row["changes"] if part.startswith("subset="))
    yield f"\n## Accuracy after the same training, {row['activation']}\n"
    yield (
        f"`{row['config']}` with {subset} (images per class), {row['arch']}, {row['size']} px, batch "
        f"{row['batch']}, {row['epochs']} epochs, {row['precision']}; equal initial weights seed by seed, "
        "other orders and crops\n"
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


def _preparation(found: Mapping[str, Any]) -> Iterator[str]:
    if found["preparation"]:
        yield "\n## Once per machine, not in any row above (n = 1)\n"
        for name, seconds in found["preparation"].items():
            yield f"- {name}: {seconds:.1f} s"


def _label(name: str, found: Mapping[str, Any], workers: int | None = None) -> str:
    one = found["contenders"][name]
    input_by = one["input_by"] if workers is None else f"{workers} worker{'' if workers == 1 else 's'}"
    return f"{CONTENDERS[name].title} | {one['precision']} | {input_by}"


def rate(row: Mapping[str, Any], name: str) -> float:
    """Median images/s of a contender."""
    return float(row["images"] / median(row["contenders"][name]["seconds"]))


EQUAL = (
    "- Equal: images, batch, steps, threads, initial weights, label smoothing, AdamW and its constants,",
    "  one-cycle schedule, crops' and flips' parameters, validation at the same size.",
    "- Peers decode the files anew each time; ours reads its decoded cache, made once per machine (its time",
    "  stands at the end).",
    "- Tuned: our row's precision by autocast, channels_last, torch's fused AdamW, and the number of",
    "  workers that trained fastest, chosen in this run (cold runs: none or that number). Default: fp32, and",
    "  what each library does unasked. Nobody's step is compiled with torch.compile, which takes a minute.",
    "- fastai validates by its own transform (the whole image squashed, then a centre crop), and decays a",
    "  learned ReLU's parameters, too.",
    "- Ours includes the search for divergence and telemetry, as in every run; telemetry samples at least as",
    "  large a share of the steps timed here as of a run's. A ready batch is uint8 for ours, normalised in",
    "  each step, and floats for peers. The peers' hand-written loops log nothing.",
    "- Our cold run also writes its result and compares it with the leaderboard; a peer's prints the",
    "  accuracy. Each has run before, so that files are in memory and kernels compiled.",
    f"- “{CONTENDERS[AGAIN].title}” is a second process of ours: without noise its ratio is 1.",
)
MALLOC = (
    "- Ours has glibc's malloc keep freed memory for the next step (`keep_freed_memory`). Peers as people",
    f"  run them do not. “{CONTENDERS[KEEPING].title}” does, and differs in nothing",
    "  else from its twin: it tells how much of our lead is that setting. No target is judged by it, and it",
    "  has no cold run.",
)
ON_GPU = (
    "- On the GPU, ours keeps the decoded images there and crops them there. Tuned peers use page-locked",
    "  batches and copy them without waiting, but for fastai, whose copies wait, and timm's loader, which",
    "  has a stream of its own. A default peer's fp32 convolutions use TF32, as torch does unasked.",
)
