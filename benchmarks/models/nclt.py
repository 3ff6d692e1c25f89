"""The KalmanNet paper's Segway: a Wiener velocity (20)-(23) of which the odometry sees the velocities, at 1 Hz.

State (p_x, v_x, p_y, v_y); the stored `state` has [x, y, vx, vy, ax, ay]: take its columns 0, 2, 1, 3. Positions are
integrated from a known start; of the noise levels only the ratio acts on the mean.
"""

import jax.numpy as jnp

import kfjax as kf

WIENER_VELOCITY = kf.systems.wiener_velocity(dt=1.0, q_std=1.0, r_std=1.0, prior=kf.systems.known(jnp.zeros(4)))
