"""Small dense algebra that XLA can fuse over a batch.

A filter multiplies, factors and solves with matrices of a few rows, thousands at a time. Under
`jax.vmap` a LAPACK factorisation is one library call per matrix, and a small `dot_general` is
hardly better. So matrices of up to `UNROLL` rows are written out: products as sums of outer
products, factorisations and solves by scalars, columns and rows, which XLA fuses over the batch.
Larger ones go through `jax.numpy.linalg`. The choice is made at trace time from the static shape.

Every function takes one matrix; batch with `jax.vmap`. All of them accept positive *semidefinite*
matrices: a zero pivot gives a zero column in the factor, and solves with such a factor are right
for right-hand sides in its range. Factorisations read the lower triangle only; products that are
covariances are symmetric to the bit.
"""

from kfjax.linalg.factored import Factored, factorise
from kfjax.linalg.factors import cholesky, triangularise
from kfjax.linalg.small_products import (
    diagonal,
    matmul,
    quadratic,
    symmetric,
    symmetric_product,
    weighted_gram,
)
from kfjax.linalg.solves import logdet, solve_factored, solve_lower

__all__ = [
    "Factored",
    "cholesky",
    "diagonal",
    "factorise",
    "logdet",
    "matmul",
    "quadratic",
    "solve_factored",
    "solve_lower",
    "symmetric",
    "symmetric_product",
    "triangularise",
    "weighted_gram",
]
