"""The KalmanNet paper's Segway (session 2012-01-22 of NCLT at 1 Hz), with velocities from odometry.

    kfjax compare --data ../shared/data/nclt/nclt_2012-01-22_contiguous.npz \
        --model benchmarks/models/nclt.py:WIENER_ACCELERATION --filters kalman --components 0,1

Positions are integrated from a known start without any fix. Only the ratio of the noise levels
affects the means.
"""

import numpy as np

import kfjax as kf

# the paper's (20)-(23), state (p_x, v_x, p_y, v_y): columns 0, 2, 1, 3 of the data's state
WIENER_VELOCITY = kf.systems.wiener_velocity(
    dt=1.0, q_density=1.0, r_std=1.0, prior=kf.systems.known(np.zeros(4))
)

# Wiener accelerations with the data's state (x, y, v_x, v_y, a_x, a_y), from the start of the
# session, at rest
ORDER = np.array([0, 3, 1, 4, 2, 5])
by_axis = kf.systems.constant_acceleration(2, q_density=1.0, r_std=1.0, measure="velocity")
WIENER_ACCELERATION = kf.linear_gaussian(
    F=by_axis.f.A[ORDER][:, ORDER],
    H=by_axis.h.A[:, ORDER],
    Q=by_axis.Q[ORDER][:, ORDER],
    R=by_axis.R,
    prior=kf.systems.known(np.array([79.43, 104.55, 0.0, 0.0, 0.0, 0.0])),
)
