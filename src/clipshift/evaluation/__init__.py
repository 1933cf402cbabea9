"""Measuring a classifier: scores per video, exact metrics, plots, explanations and the report.

Nothing is imported here: explanations of exports need no PyTorch, which the rest of the room does.
"""
