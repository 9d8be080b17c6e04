"""Sweeps: a grid of experiments as idempotent units, and the engines that run them."""
