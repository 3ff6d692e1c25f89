"""Speed compared with other libraries: `python -m benchmarks.speed`.

Unlike the other studies, these modules import private parts of kfjax: the workloads that they share
with `kfjax bench` (`kfjax._cli.problems` and `workloads`), and the functions that `profiles` takes
apart.
"""
