"""The numbers that the KalmanNet paper prints, by table and claim.

Revach et al., KalmanNet: Neural Network Aided Kalman Filtering for Partially Known Dynamics, IEEE
Transactions on Signal Processing 70, 2022. Pages show none of its results that is not here.
"""

# Table I, MSE in dB at T = 20 and T = 200
LINEAR = {
    "vanilla RNN": (-20.98, 58.14),
    "MB RNN": (-21.53, 36.8),
    "MB RNN with differences": (-21.92, -21.88),
    "KalmanNet": (-21.92, -21.90),
    "KF": (-21.97, -21.91),
}
ROTATED_GAIN = 3.0  # dB that KalmanNet gains in Fig. 7b, in the text
LOST = 30.0  # dB; the MSE of the EKF in Fig. 9b is above it
DECIMATED = {"EKF": -6.43, "PF": -5.34, "KalmanNet": -11.28}  # Table III, MSE in dB
# Table IV, ms for one trajectory of 100 steps
TIMES = {"EKF": 290.0, "PF": 2903.0, "KalmanNet C3": 187.0, "KalmanNet C4": 149.0}
# Table V, MSE in dB
ODOMETRY = {
    "integrated velocity": 25.47,
    "KF": 25.385,
    "KalmanNet": 22.2,
    "vanilla RNN": 40.21,
}
ODOMETRY_GAIN = 3.2  # dB that KalmanNet gains in Table V, in the text


def text(number):
    """Return a number as on pages: two or three decimals, none from 100 on; "" for None."""
    if number is None:
        return ""
    if abs(number) >= 100:
        return f"{number:.0f}"
    found = f"{number:.3f}"
    return found.removesuffix("0")


def quoted(number, unit="dB", *, above=False):
    """Return a number of the paper for a sentence, such as "(paper: 3.2 dB)"."""
    word = "above " if above else ""
    return f"(paper: {word}{number:.4g} {unit})"
