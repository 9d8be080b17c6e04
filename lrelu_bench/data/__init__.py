"""Imagenette, Imagewoof and MNIST: which files exist, where they lie, and their decoded pixels.

`catalog` knows the twelve official archives, `archives` fetches, imports and verifies them, `cache` decodes
one once into memory-mapped pixels, and `splits` derives the v1 and v2 splits as index arrays. `mnist` is all
this for MNIST's four small files. Only `loader`, which makes batches, imports torch.
"""
