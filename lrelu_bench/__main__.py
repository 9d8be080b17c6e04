"""`python -m lrelu_bench`."""

from lrelu_bench.cli import main

main()
