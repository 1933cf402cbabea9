"""Public data sets: the catalogue, their official splits, and how their files are fetched and unpacked."""
