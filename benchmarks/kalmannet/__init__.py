"""The experiments of the KalmanNet paper over kfjax, judged fairly: `python -m benchmarks.kalmannet all --out DIR`."""
