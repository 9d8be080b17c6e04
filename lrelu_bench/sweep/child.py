"""`lrelu-bench` as a worker starts it: it is asked to stop, and so saves, when the worker dies."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def follow_parent(parent: int) -> None:
    """Have the system send SIGTERM when the parent process is gone; Linux alone can."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before it was followed
        os.kill(os.getpid(), signal.SIGTERM)


def leave_warnings_to_parent() -> None:
    """Ignore what schedulers warn with: some send it to all processes of a job, which would end this one."""
    for name in ("SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


if __name__ == "__main__":
    from lrelu_bench import cli

    leave_warnings_to_parent()
    follow_parent(int(sys.argv.pop(1)))
    cli.main()
