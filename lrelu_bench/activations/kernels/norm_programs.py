"""Triton programs of batch norm with the general form or plain ReLU behind it; `cuda_norm` runs them.

Memory is a matrix of `rows` (pixels) x `width` (channels), read in tiles of R x C; arithmetic is float32.
What runs over the rows is summed in two steps without atomics: by programs that each take `steps` tiles one
after the other and write a part, and by programs that join all parts of a few columns.

Constants are in capitals, as Triton's are. ADDED: there is a residual. BENT: the general form, not plain
ReLU; CAPPED: with maxv.
"""

import triton
import triton.language as tl


# Specialising on the number of rows or steps would compile anew for an epoch's last batch and gain nothing.
# fmt: off
@triton.jit(do_not_specialize=["rows", "steps"])  # type: ignore[untyped-decorator]
def moments(x_ptr, parts_ptr, rows, width, steps, R: tl.constexpr, C: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    # Welford's update at every place of the tile: no sum of squares that cancels, and no exchange between
    # threads until the end, where the places are joined as in Chan, Golub & LeVeque 1983.
    first = tl.program_id(0).to(tl.int64) * steps * R
    places = first + tl.arange(0, R)
    j = tl.program_id(1) * C + tl.arange(0, C)
    mean = tl.zeros((R, C), tl.float32)
    squares = tl.zeros((R, C), tl.float32)
    for step in range(steps):
        i = places + step * R
        inside = (i < rows)[:, None] & (j < width)[None, :]
        x = tl.load(x_ptr + i[:, None] * width + j[None, :], mask=inside, other=0.0).to(tl.float32)
        away = tl.where(inside, x - mean, 0.0)
        mean += away * (1.0 / (step + 1))
        squares += away * tl.where(inside, x - mean, 0.0)
    seen = tl.minimum(tl.maximum((rows - places + R - 1) // R, 0), steps).to(tl.float32)[:, None]
    total = tl.minimum(rows - first, steps * R).to(tl.float32)
    center = tl.sum(seen * mean, 0) / total
    away = mean - center[None, :]
    at = parts_ptr + tl.program_id(0) * width + j
    tl.store(at, center, mask=j < width)
    tl.store(at + tl.num_programs(0) * width, tl.sum(squares + seen * away * away, 0), mask=j < width)


@triton.jit(do_not_specialize=["rows", "steps", "parts"])  # type: ignore[untyped-decorator]
def join_moments(  # type: ignore[no-untyped-def]
    parts_ptr, mean_ptr, spread_ptr, running_mean_ptr, running_var_ptr, batches_ptr,
    rows, width, each, parts, momentum, eps,
    TRACKED: tl.constexpr, P: tl.constexpr, C: tl.constexpr,  # noqa: N803
):
    # TRACKED: the running statistics move as nn.BatchNorm2d's, and `spread` is 1 / deviation, not variance.
    p = tl.arange(0, P)
    j = tl.program_id(0) * C + tl.arange(0, C)
    inside = (p < parts)[:, None] & (j < width)[None, :]
    at = parts_ptr + p[:, None] * width + j[None, :]
    means = tl.load(at, mask=inside, other=0.0)
    squares = tl.load(at + parts * width, mask=inside, other=0.0)
    share = tl.minimum(tl.maximum(rows - p.to(tl.int64) * each, 0), each).to(tl.float32)[:, None] / rows
    mean = tl.sum(share * means, 0)
    away = tl.where(inside, means - mean[None, :], 0.0)
    var = tl.sum(squares / rows + share * away * away, 0)
    known = j < width
    tl.store(mean_ptr + j, mean, mask=known)
    if TRACKED:
        tl.store(spread_ptr + j, tl.rsqrt(var + eps), mask=known)
        before = tl.load(running_mean_ptr + j, mask=known, other=0.0)
        tl.store(running_mean_ptr + j, before + momentum * (mean - before), mask=known)
        unbiased = var * (rows / (rows - 1.0))
        before = tl.load(running_var_ptr + j, mask=known, other=0.0)
        tl.store(running_var_ptr + j, before + momentum * (unbiased - before), mask=known)
        if tl.program_id(0) == 0:
            tl.store(batches_ptr, tl.load(batches_ptr) + 1)
    else:
        tl.store(spread_ptr + j, var, mask=known)


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def norm_forward(  # type: ignore[no-untyped-def]
    x_ptr, residual_ptr, y_ptr, weight_ptr, bias_ptr, mean_ptr, invstd_ptr, leak_ptr, sub_ptr, maxv_ptr,
    rows, width,
    ADDED: tl.constexpr, BENT: tl.constexpr, CAPPED: tl.constexpr, R: tl.constexpr, C: tl.constexpr,  # noqa: N803
):
    i = (tl.program_id(0) * R + tl.arange(0, R)).to(tl.int64)
    j = tl.program_id(1) * C + tl.arange(0, C)
    known = j < width
    inside = (i < rows)[:, None] & known[None, :]
    place = i[:, None] * width + j[None, :]
    scale = tl.load(weight_ptr + j, mask=known, other=0.0) * tl.load(invstd_ptr + j, mask=known, other=0.0)
    bias = tl.load(bias_ptr + j, mask=known, other=0.0)
    mean = tl.load(mean_ptr + j, mask=known, other=0.0)
    x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
    v = (x - mean[None, :]) * scale[None, :] + bias[None, :]
    if ADDED:
        v += tl.load(residual_ptr + place, mask=inside, other=0.0).to(tl.float32)
    if BENT:
        leak = tl.load(leak_ptr + j, mask=known, other=0.0)[None, :]
        sub = tl.load(sub_ptr + j, mask=known, other=0.0)[None, :]
        y = tl.where(v > 0, v, leak * v) - sub
        if CAPPED:
            maxv = tl.load(maxv_ptr + j, mask=known, other=0.0)[None, :]
            y = tl.where(y > maxv, maxv, y)
    else:
        # Asked this way round, NaN comes through, as in torch's relu.
        y = tl.where(v <= 0, 0.0, v)
    tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _bend(  # type: ignore[no-untyped-def]
    away, beside_ptr, grad_ptr, scale, bias_ptr, leak_ptr, sub_ptr, maxv_ptr, place, inside, j, known,
    BESIDE: tl.constexpr, BENT: tl.constexpr, CAPPED: tl.constexpr,  # noqa: N803
):
    # The gradient of v, and what the sums for leak, -sub and maxv add. `away` is x - mean. BESIDE: a second
    # tensor is read, the residual or, for plain ReLU, the output.
    grad = tl.load(grad_ptr + place, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + j, mask=known, other=0.0)[None, :]
    v = away * scale[None, :] + bias
    if BESIDE:
        beside = tl.load(beside_ptr + place, mask=inside, other=0.0).to(tl.float32)
        v = v + beside if BENT else beside
    if BENT:
        leak = tl.load(leak_ptr + j, mask=known, other=0.0)[None, :]
        passed = grad
        capped = grad
        if CAPPED:
            sub = tl.load(sub_ptr + j, mask=known, other=0.0)[None, :]
            maxv = tl.load(maxv_ptr + j, mask=known, other=0.0)[None, :]
            over = tl.where(v > 0, v, leak * v) - sub > maxv
            passed = tl.where(over, 0.0, grad)
            capped = tl.where(over, grad, 0.0)
        # Outside the tensor grad is 0, and 0 times a NaN parameter must not reach the sums.
        of_leak = tl.where(inside, passed * tl.where(v > 0, 0.0, v), 0.0)
        grad_v = tl.where(inside, tl.where(v > 0, passed, leak * passed), 0.0)
    else:
        grad_v = tl.where(v <= 0, 0.0, grad)
        of_leak, passed, capped = grad_v, grad_v, grad_v
    return grad_v, of_leak, passed, capped


@triton.jit(do_not_specialize=["rows", "steps"])  # type: ignore[untyped-decorator]
def norm_sums(  # type: ignore[no-untyped-def]
    x_ptr, beside_ptr, grad_ptr, below_ptr, sums_ptr,
    weight_ptr, bias_ptr, mean_ptr, invstd_ptr, leak_ptr, sub_ptr, maxv_ptr, rows, width, steps,
    BELOW: tl.constexpr, BESIDE: tl.constexpr, BENT: tl.constexpr, CAPPED: tl.constexpr,  # noqa: N803
    R: tl.constexpr, C: tl.constexpr,  # noqa: N803
):
    # BELOW: the gradient of v, which is the residual's, is written. Each place of the tile has its own sums,
    # so that threads need not exchange any before the end.
    first = tl.program_id(0).to(tl.int64) * steps * R
    j = tl.program_id(1) * C + tl.arange(0, C)
    known = j < width
    mean = tl.load(mean_ptr + j, mask=known, other=0.0)
    invstd = tl.load(invstd_ptr + j, mask=known, other=0.0)
    scale = tl.load(weight_ptr + j, mask=known, other=0.0) * invstd
    for_bias = tl.zeros((R, C), tl.float32)
    for_weight = tl.zeros((R, C), tl.float32)
    for_leak = tl.zeros((R, C), tl.float32)
    for_sub = tl.zeros((R, C), tl.float32)
    for_maxv = tl.zeros((R, C), tl.float32)
    for step in range(steps):
        i = first + step * R + tl.arange(0, R)
        inside = (i < rows)[:, None] & known[None, :]
        place = i[:, None] * width + j[None, :]
        away = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32) - mean[None, :]
        grad_v, of_leak, passed, capped = _bend(
            away, beside_ptr, grad_ptr, scale, bias_ptr, leak_ptr, sub_ptr, maxv_ptr, place, inside, j, known,
            BESIDE, BENT, CAPPED,
        )
        if BELOW:
            tl.store(below_ptr + place, grad_v.to(below_ptr.dtype.element_ty), mask=inside)
        for_bias += grad_v
        for_weight += grad_v * (away * invstd[None, :])
        if BENT:
            for_leak += of_leak
            for_sub += passed
            if CAPPED:
                for_maxv += capped
    at = sums_ptr + tl.program_id(0) * width + j
    total = tl.num_programs(0) * width
    tl.store(at, tl.sum(for_bias, 0), mask=known)
    tl.store(at + total, tl.sum(for_weight, 0), mask=known)
    if BENT:
        tl.store(at + 2 * total, tl.sum(for_leak, 0), mask=known)
        # What comes off is -sub.
        tl.store(at + 3 * total, -tl.sum(for_sub, 0), mask=known)
        if CAPPED:
            tl.store(at + 4 * total, tl.sum(for_maxv, 0), mask=known)


@triton.jit(do_not_specialize=["parts"])  # type: ignore[untyped-decorator]
def join_sums(sums_ptr, total_ptr, width, parts, P: tl.constexpr, C: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    p = tl.arange(0, P)
    j = tl.program_id(0) * C + tl.arange(0, C)
    kind = tl.program_id(1)
    inside = (p < parts)[:, None] & (j < width)[None, :]
    sums = tl.load(sums_ptr + (kind * parts + p)[:, None] * width + j[None, :], mask=inside, other=0.0)
    tl.store(total_ptr + kind * width + j, tl.sum(sums, 0), mask=j < width)


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def norm_backward(  # type: ignore[no-untyped-def]
    x_ptr, beside_ptr, grad_ptr, grad_x_ptr, total_ptr,
    weight_ptr, bias_ptr, mean_ptr, invstd_ptr, leak_ptr, sub_ptr, maxv_ptr, rows, width,
    PASSED: tl.constexpr, BESIDE: tl.constexpr, BENT: tl.constexpr, CAPPED: tl.constexpr,  # noqa: N803
    R: tl.constexpr, C: tl.constexpr,  # noqa: N803
):
    # PASSED: `grad_ptr` is the gradient of v already.
    i = (tl.program_id(0) * R + tl.arange(0, R)).to(tl.int64)
    j = tl.program_id(1) * C + tl.arange(0, C)
    known = j < width
    inside = (i < rows)[:, None] & known[None, :]
    place = i[:, None] * width + j[None, :]
    mean = tl.load(mean_ptr + j, mask=known, other=0.0)
    invstd = tl.load(invstd_ptr + j, mask=known, other=0.0)
    scale = tl.load(weight_ptr + j, mask=known, other=0.0) * invstd
    grad_mean = tl.load(total_ptr + j, mask=known, other=0.0) / rows
    grad_slope = tl.load(total_ptr + width + j, mask=known, other=0.0) / rows
    away = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32) - mean[None, :]
    if PASSED:
        grad_v = tl.load(grad_ptr + place, mask=inside, other=0.0).to(tl.float32)
    else:
        grad_v, _, _, _ = _bend(
            away, beside_ptr, grad_ptr, scale, bias_ptr, leak_ptr, sub_ptr, maxv_ptr, place, inside, j, known,
            BESIDE, BENT, CAPPED,
        )
    normal = away * invstd[None, :]
    grad_x = scale[None, :] * (grad_v - grad_mean[None, :] - normal * grad_slope[None, :])
    tl.store(grad_x_ptr + place, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside)
# fmt: on
