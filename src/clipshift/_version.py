"""The version of clipshift."""

__version__ = "0.1.0"
