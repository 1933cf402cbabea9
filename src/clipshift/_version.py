"""The version of clipshift."""

__version__ = "0.2.0"
