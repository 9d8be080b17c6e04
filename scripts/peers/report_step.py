"""The report's tables of what is inside a step: the activation's kernels, and where the time goes."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any


def kernel_tables(row: Mapping[str, Any]) -> Iterator[str]:
    """A table per shape."""
    yield "\n## The activation alone, forward and backward\n"
    yield (
        "All in one process of the product, with its malloc setting, in turns. Bytes are the least that "
        "must move where no cache helps: alone 5 tensors of the input's size, behind a batch norm 8.\n"
    )
    for one in row["shapes"]:
        yield from kernel_table(one)


def kernel_table(one: Mapping[str, Any]) -> Iterator[str]:
    """The passes over one shape."""
    shape = " x ".join(map(str, one["shape"]))
    yield f"\n{shape}, {one['dtype']}, channels_last\n"
    yield "| | n | ms (median) | time, ratio to torch's ReLU | GB/s of least traffic | share of the copy |"
    yield "|---|---:|---:|---:|---:|---:|"
    for title, found in one["passes"].items():
        ratio = found["ratio"]
        by = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
        by = "1" if title == found["against"] else "–" if title == "a copy" else by
        times = found["milliseconds"]
        yield (
            f"| {title} | {len(times)} | {median(times):,.3f} | {by} | {found['least_gbs']:,.1f} "
            f"| {found['share_of_copy']:.2f} |"
        )


def profile_table(row: Mapping[str, Any], gflop_per_image: float, conv_gflops: float) -> Iterator[str]:
    """Where a step's time goes, and its floors."""
    step = row["seconds_per_step"]
    yield f"\n## Where a step's time goes, {row['activation']}\n"
    yield (
        f"lrelu-bench, batch {row['batch']}, {row['size']} px, {row['precision']}: {row['steps']} training "
        f"steps under torch's profiler, {1e3 * step:,.1f} ms each, some of it the profiler's own.\n"
    )
    yield "| part | share | ms a step |\n|---|---:|---:|"
    for part, share in sorted(row["shares"].items(), key=lambda item: -item[1]):
        yield f"| {part} | {100 * share:.1f} % | {1e3 * share * step:,.1f} |"
    alone = row["convolutions_alone"]
    floor = gflop_per_image * row["batch"] / conv_gflops
    yield "\nFloors of a step, if all else were free:\n"
    yield (
        f"- its {gflop_per_image * row['batch']:,.0f} GFLOP at the measured ceiling of a 3x3 convolution: "
        f"{1e3 * floor:,.1f} ms"
    )
    yield (
        f"- its own convolutions, forward and backward, each by itself on ready tensors: "
        f"{1e3 * alone:,.1f} ms, {row['batch'] / alone:,.1f} images/s"
    )
