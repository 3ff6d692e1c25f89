"""Models of the KalmanNet authors' Lorenz data sets, and of their mismatch studies.

    kfjax compare --data ../shared/data/kalmannet/lorenz_id_v0_r0_T20.npz \
        --model benchmarks/models/kalmannet_lorenz.py:IDENTITY_V0_R0

x_0 is (1, 1, 1) and known; the data were made with J = 5 and dt = 0.02 in the authors'
factorisation. Names follow the files, where v is 10 log10(q^2/r^2) and r is 10 log10(1/r^2).
"""

import functools

import jax.numpy as jnp

import kfjax as kf

lorenz = functools.partial(kf.systems.lorenz, prior=kf.systems.known(jnp.ones(3)))

IDENTITY_V0_R0 = lorenz(q_std=1.0, r_std=1.0)
IDENTITY_V0_R20 = lorenz(q_std=0.1, r_std=0.1)
IDENTITY_V20_R0 = lorenz(q_std=0.1, r_std=1.0)  # lorenz_id_v-20_r0_T100

# the authors never wrap phi
SPHERICAL_V0_R0 = lorenz(observation="spherical", wrap=False, q_std=1.0, r_std=1.0)
SPHERICAL_V0_R0_WRAPPED = lorenz(observation="spherical", q_std=1.0, r_std=1.0)
SPHERICAL_V0_R20 = lorenz(observation="spherical", wrap=False, q_std=0.1, r_std=0.1)
SPHERICAL_V0_R20_WRAPPED = lorenz(observation="spherical", q_std=0.1, r_std=0.1)

# lorenz_Hrot1_v-20_r0_T100: data from a rotation by 1 degree about each axis
HROT1_IDENTITY = IDENTITY_V20_R0
HROT1_TRUE = lorenz(observation="rotated", rotation_degrees=1.0, q_std=0.1, r_std=1.0)

# lorenz_decimated_size10_T3000: sampled densely and decimated. Its first stored state is x_0, 1e-5
# s after (1, 1, 1), so that a prediction before y_1 is one too many. That is the authors'
# alignment, for which each q2 is the best of its f.
DECIMATED_J2 = lorenz(taylor_order=2, q_std=0.15**0.5, r_std=1.0)
# the f of the authors' network
DECIMATED_HALF_STEPS = lorenz(taylor_order=2, substeps=2, q_std=0.05**0.5, r_std=1.0)
DECIMATED_RK4 = lorenz(integrator="rk4", q_std=1e-3**0.5, r_std=1.0)

# aligned: the prior is about the state of y_1 itself, so that an update comes first
DECIMATED_RK4_ALIGNED = lorenz(
    integrator="rk4", q_std=3e-5**0.5, r_std=1.0, prior=kf.Gaussian(jnp.ones(3), 1e-6 * jnp.eye(3))
)
