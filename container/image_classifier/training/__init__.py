"""Behind `train`: hyperparameters, data set, loop, checkpoints, metric lines."""
