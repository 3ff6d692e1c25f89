"""Everything that is exact for linear models, compared with the joint Gaussian of random records.

`python tools/check_oracles.py --cases 2000` draws more of them, in more dimensions, and checks EM.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from support.oracle_checks import assert_record
from support.random_models import Shape, traits

SHAPES = (
    Shape(3, 2, "constant", "predict", "float32"),
    Shape(2, 2, "varying", "update", "float64"),
    Shape(2, 1, "opaque", "predict", "float64"),
)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
def test_random_records_have_the_moments_of_their_joint_gaussian(shape):
    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(traits([shape]))
    def each(one):
        assert_record(one)

    each()
