"""What the names of rows mean: each study's page explains the terms that its own rows have."""

import re

# patterns of the parts of a row's name, which commas and colons separate
TERMS = {
    r"KF": "the Kalman filter.",
    r"EKF": "the extended Kalman filter, with the true Jacobians of f and h.",
    r"iterated EKF": "an EKF that linearises h five times in each update.",
    r"UKF": "the unscented Kalman filter.",
    r"PF": "a bootstrap particle filter.",
    r"\d+ particles": "the number of particles.",
    r"differentiable PF": "a PF with soft resampling, through which gradients pass.",
    r"OKF": "a KF or EKF whose Q and R are optimised on training data.",
    r"OEKF": "an EKF whose Q and R are optimised on training data.",
    r"all of Q and R tuned|Q and R tuned": "all diagonal entries of Q and R, by squared error.",
    r"Q tuned|q and r tuned": "one factor on Q (and one on R, if named), by squared error.",
    r"q of the truth": "the Q that the data were made with.",
    r"q searched": "Q = q² I, with the q of a grid that has the lowest error on validation data.",
    r"q of independent trajectories": "the q that is best on these, not on the authors' own data.",
    r"design model": "the model without the rotation.",
    r"true model": "the model that the data were made with.",
    r"learned residual": "f or h corrected by an affine function that is fitted to the labels.",
    r"least squares": "the rotated matrix, and its noise, fitted to the labels by least squares.",
    r"learned [fh]": "this function corrected by a polynomial that is fitted to the labels.",
    r"phi wrapped": "differences of the angle phi are taken between -pi and pi.",
    r"J = \d": "f moves the state by a Taylor series of this order.",
    r"J = \d in two half-steps": "f is two such steps of half the length.",
    r"Runge-Kutta": "f is a Runge-Kutta step of order four.",
    r"Runge-Kutta in two half-steps": "f is two such steps of half the length.",
    r"J = \d \+ learned cubic": "f with a polynomial of degree three added, fitted to the labels.",
    r"q² = [\d.]+": "the variance of the process noise in the filter.",
    r"the authors' form": "the first stored state is x_0; a prediction precedes its observation.",
    r"the authors' weights( and form)?": "the published network, not trained here.",
    r"KalmanNet( C\d)?": (
        "the paper's network for the gain. C1 to C4 are its configurations: architecture #1, a"
        " large recurrent unit, for C1 to C3, and #2, three small ones, for C4, each with its own"
        " input features."
    ),
    r"KalmanNet #\d": "the paper's architectures: one large recurrent unit (#1) or three (#2).",
    r"two GRUs": "with two layers of gated recurrent units, as in the authors' code.",
    r"trained on long pieces": "on pieces of 1200 steps, through which training continues.",
    r"half of the starts off": "half of the training trajectories begin with a wrong state.",
    r"\d+ x \d+": "the sizes of state and observation.",
    r"vanilla RNN": "a recurrent network that maps observations to states and knows no model.",
    r"MB RNN": "a model-based recurrent network: it sees y and f(x), and corrects f(x).",
    r"MB RNN with differences": "an MB RNN that sees differences (F2, F4) as KalmanNet does.",
    r"MB RNN with normalised differences": "the same, with differences scaled to length one.",
    r"scaled": "its inputs and outputs are divided by their standard deviations in training.",
    r"48 units": "the size of its recurrent layer.",
    r"noise drawn anew": "trained on trajectories simulated with noise drawn from the labels'.",
    r"gain that starts at the E?KF": "a network that corrects the gain of this filter.",
    r"floor": "the lowest error that any estimator can reach on average, or an estimate of it.",
    r"theory": "the covariance of the KF of the true linear model.",
    r"exact posterior mean": "by Bayes' rule on a grid, under the true model.",
    r"doubled": "particles are doubled until the error changes by less than 0.05 dB.",
    r"Cramér-Rao": "the covariance of a filter with the true flow, linearised at the truth.",
    r"integrated velocity": "the odometry's velocities, summed up.",
    r"integrated": "the odometry's velocities, mapped and summed up.",
    r"fitted map": "velocities mapped by a 2 x 2 matrix fitted to the training part.",
    r"recent map": "the same, fitted to the last training steps only.",
    r"map by heading": "a map with the errors of a compass, which depend on the heading.",
    r"GPS": "the receiver's fixes of the position.",
    r"the last fix": "held until the next one.",
    r"white GPS error": "errors of fixes are independent.",
    r"Student-t noise": "observations weighted as if their errors had two degrees of freedom.",
    r"GPS doubted after gaps": "R of fixes grows with the share of missing ones before.",
    r"gated": "observations outside the 99.9 % region are rejected.",
    r"IMM of two EKFs": "two filters, weighted by their probabilities.",
    r"GPS right or wrong": "their two models of the fixes.",
    r"R by a network of the context": "R from speed and missing fixes, trained by likelihood.",
    r"parameters": "the number of weights.",
    r"µs per step": "microseconds for one time step.",
    r"one trajectory": "at a time.",
    r"each of \d+": "run at once, per trajectory.",
}


def parts(row):
    """Return the parts of a row's name."""
    return re.split(r"[,:] ", row)


def explained(rows):
    """Return (term, what it means) of the terms in the names of rows, each once, in their order.

    A term whose pattern stands for several names is shown as the first of them.
    """
    found = {}
    for row in rows:
        for part in parts(row):
            meant = next((text for term, text in TERMS.items() if re.fullmatch(term, part)), None)
            if meant is not None:
                found.setdefault(meant, part)
    return [(part, meant) for meant, part in found.items()]
