"""Runs that are killed and fed with faults, in processes of their own, and what becomes of them."""
