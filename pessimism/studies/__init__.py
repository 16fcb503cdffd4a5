"""Long computations on disk: folders that one process holds, files that tell when they are damaged."""
