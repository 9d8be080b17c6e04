"""What `bench_peers.py` runs: the product and what people use in its place, each behind the same interface.

The peers' modules import nothing of the product, so that a cold run of theirs pays for nothing of ours.
"""
