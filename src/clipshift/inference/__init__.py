"""Answers for videos: the same from a path, from frames, or through an exported file."""
