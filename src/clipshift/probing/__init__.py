"""What clips tell about their data set, from features of a network that does not learn: wrong labels, how many more."""
