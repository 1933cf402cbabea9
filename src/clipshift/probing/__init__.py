"""What the clips of a data set tell about it, from the features of a network that does not learn: wrong labels."""
