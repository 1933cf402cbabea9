"""`report.html`: plots, strips of frames and the page, from what a run folder holds."""
