"""The KalmanNet paper's experiments, reproduced and judged: `python -m benchmarks.kalmannet`."""
