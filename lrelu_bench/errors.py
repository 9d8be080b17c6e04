"""The errors a user can cause."""


class BenchError(Exception):
    """One clear sentence: the place (file, key, line), the offending value and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """
