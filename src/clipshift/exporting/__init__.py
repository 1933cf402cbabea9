"""From a trained model to a file that runs without PyTorch and without clipshift, proven to give the same numbers."""
