"""The one promise: from decoded frames to the network's input, the same in training, prediction and exported graphs."""
