"""Models of the KalmanNet authors' linear data sets, and of their mismatch studies.

    kfjax compare --data ../shared/data/kalmannet/lin2x2_v0_r0_T100.npz \
        --model benchmarks/models/kalmannet_linear.py:LIN2X2_V0_R0

x_0 is zero and known (stored states are x_1..x_T). Names follow the files, where v is
10 log10(q^2/r^2) and r is 10 log10(1/r^2).
"""

import jax.numpy as jnp

import kfjax as kf

ORIGIN_2D, ORIGIN_5D = kf.systems.known(jnp.zeros(2)), kf.systems.known(jnp.zeros(5))

LIN2X2_V0_R0 = kf.systems.canonical(2, q_std=1.0, r_std=1.0, prior=ORIGIN_2D)
LIN2X2_V0_R20 = kf.systems.canonical(2, q_std=0.1, r_std=0.1, prior=ORIGIN_2D)
# lin2x2_v-20_r10_T100
LIN2X2_V20_R10 = kf.systems.canonical(2, q_std=0.001**0.5, r_std=0.1**0.5, prior=ORIGIN_2D)
LIN2X2_RQ020 = kf.systems.canonical(2, q_std=0.1, r_std=1.0, prior=ORIGIN_2D)
LIN5X5_RQ020 = kf.systems.canonical(
    5, form="inverse_canonical", q_std=0.1, r_std=1.0, prior=ORIGIN_5D
)

# lin2x2_Frot10_r0_T20: made with F0 R(10 degrees), although the paper prints R F0
FROT10_F0 = LIN2X2_RQ020
FROT10_F0_R = FROT10_F0.replace(f=kf.Linear(kf.systems.rotate(FROT10_F0.f.A, 10.0, order="right")))
FROT10_R_F0 = FROT10_F0.replace(f=kf.Linear(kf.systems.rotate(FROT10_F0.f.A, 10.0, order="left")))

# lin2x2_Hrot10_r0_T100
HROT10_IDENTITY = LIN2X2_RQ020
HROT10_TRUE = HROT10_IDENTITY.replace(h=kf.Linear(kf.systems.rotation(10.0)))

# linear_CA_dt1e-2_T100_randnInit: x_0 is drawn from this prior and stored in *_init
CONSTANT_ACCELERATION = kf.systems.constant_acceleration(dt=0.01, q_density=1.0, r_std=1.0)
