"""Why a model answers as it does for a clip: which frames matter, and where in them."""
