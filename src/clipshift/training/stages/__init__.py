"""The stages of a training, in the order of `clipshift.training.run.train`.

`data` reads the data set and holds settings against it; `objective` finds the networks to learn from, and says what is
minimized; `preparing` brings all together, fresh or from a checkpoint; `epochs` trains, `validating` measures and keeps
the best network; `finishing` writes the report. What they hand on stands in `job`.
"""
