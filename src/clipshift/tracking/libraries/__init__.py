"""One module a library, with `open_run`: none is imported but in the process of its tracker."""
