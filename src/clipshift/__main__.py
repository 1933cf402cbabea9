"""`python -m clipshift`: the command line, also for `torchrun -m clipshift`."""

from clipshift.cli import run

if __name__ == "__main__":
    run()
