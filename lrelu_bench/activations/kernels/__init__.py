"""Kernels of the general form: each number read once, forward and backward."""
