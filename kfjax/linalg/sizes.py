"""Up to which size matrices are written out.

Read these as `sizes.UNROLL`, so that a benchmark can set them.
"""

__all__: list[str] = []

# The largest size that is written out. With 8 rows a step of a covariance takes 1.03 ms for a
# thousand of them, and 1.57 ms by the library; with 10 rows 3.09 and 3.37 ms, and compiles longer;
# with 16 rows 52 and 9.5 ms (benchmarks/speed/RESULTS.md).
UNROLL = 8
# The largest size that is factored by scalars, which are fewer kernels where there is no batch.
SCALARS = 3
