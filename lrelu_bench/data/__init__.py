"""Imagenette, Imagewoof and MNIST: which files exist, where they lie, and their decoded pixels.

`catalog` knows the twelve official archives, `archives` fetches, imports and verifies them, `cache` holds the
pixels of one, decoded once by `decode`, and `splits` derives the v1 and v2 splits as index arrays. `mnist` is
all this for MNIST's four small files. Only what makes batches imports torch.

What comes from outside is distrusted in one place each: servers in `web`, archives in `tar_stream`, the disk
in `disk` and `cache_meta`.
"""
