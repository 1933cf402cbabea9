"""Tools for the clips of a data set: checks, near duplicates, transcoding."""
