"""Trackers of experiments: a training's settings, metrics, plots, report and model for the tools that a team has.

A tracker is a process of its own, which follows the files that the training writes into its run folder anyhow: nothing
is handed over, so there is no queue that could fill, and whatever a library does (raise, hang, exit, crash, print) is
done in that process. `trackers` starts and ends these processes, `following` is what they do, and each of `libraries`
speaks to one library.
"""
