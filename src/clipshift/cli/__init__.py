"""The command line: a module for each command, of a few lines that call the public function.

What an argument means is said twice, in the help of a command and in the docstring of the public function, because each
is read where the other is not; `tests/cli/test_help.py` holds the two together.
"""

from clipshift.cli.app import app
from clipshift.cli.entry import main, run

__all__ = ["app", "main", "run"]
