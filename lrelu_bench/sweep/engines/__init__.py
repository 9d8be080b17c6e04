"""Where the units of a sweep run: each engine is one file that holds only what is its own."""
