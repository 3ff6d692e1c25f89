"""The networks of the KalmanNet and RTSNet papers, from features to a gain.

A gain network is a Flax module, called as `apply(variables, carry, features) -> (carry, gain [n,
m])`, where features is a dictionary of vectors by name, with `initial_carry(constants, dtype)`.
There is no batch axis. Sizes and initial weights are those of the published networks, except for
the last layer: it is zero unless `zero_gain` is False, so that an untrained filter predicts without
correcting. The authors' default gives random gains, with which a filter of an unstable or chaotic
system diverges before it can learn.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kfjax._support.types import PyTree
from kfjax.learned.gains.products import dot_general
from kfjax.learned.gains.sizes import check_sizes, dimensions
from kfjax.learned.gated_unit import GRU, pytorch_uniform

__all__ = ["Architecture1", "Architecture2", "BackwardArchitecture"]


class Architecture1(nn.Module):
    """Architecture #1: one recurrent memory for all second-order statistics.

    It takes any subset of the features.

    Dense 80 (n + m), ReLU, GRU 10 (n^2 + m^2) (one or more), dense 4 n m, ReLU, dense n m.

    Attributes:
        n: dimension of the state; None takes that of the design model.
        m: dimension of the observation, or None.
        layers: number of stacked GRUs, at least 1.
        zero_gain: whether the gain starts at zero; False draws the last layer as the authors do.

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), section III-C.
    """

    n: int | None = None
    m: int | None = None
    layers: int = 1
    zero_gain: bool = True

    def __post_init__(self) -> None:
        check_sizes("Architecture1", n=self.n, m=self.m, layers=self.layers)
        super().__post_init__()

    def initial_carry(self, constants: PyTree, dtype: Any) -> tuple[Float[Array, " _"], ...]:
        """Return hidden states of zero."""
        del constants
        n, m = dimensions(self)
        units = 10 * (n**2 + m**2)
        return tuple(jnp.zeros(units, dtype) for _ in range(self.layers))

    @nn.compact
    def __call__(
        self, carry: tuple[Float[Array, " _"], ...], features: dict[str, Float[Array, " _"]]
    ) -> tuple[tuple[Float[Array, " _"], ...], Float[Array, "n m"]]:
        """Return the new hidden states and the gain [n, m]."""
        n, m = dimensions(self)
        x = jnp.concatenate([features[name] for name in sorted(features)])
        # The widths are those of the code of the authors, 80 (n + m) in front of the recurrent
        # layer, 10 (n^2 + m^2) in it and 4 n m behind, so that its weights can be loaded.
        x = nn.relu(_dense(80 * (n + m), x, "input"))
        hidden = []
        for k, h in enumerate(carry):
            x = GRU(h.shape[-1], name=f"gru_{k}")(h, x)
            hidden.append(x)
        x = nn.relu(_dense(4 * n * m, x, "hidden"))
        return tuple(hidden), _dense(n * m, x, "gain", zero=self.zero_gain).reshape(n, m)


class Architecture2(nn.Module):
    """Architecture #2: a GRU for each covariance of the Kalman filter, Q, Sigma (P) and S.

    With d -> FC -> a dense layer with ReLU, in one step

        Q = GRU(F4 -> FC5),  Sigma = GRU(Q, F3 -> FC6),  S = GRU(Sigma -> FC1, (F1, F2) -> FC7),
        K = (Sigma, S) -> FC2,  and the next hidden state of Sigma is (Sigma, (S, K) -> FC3) -> FC4.

    A feature that is left out counts as zero, so that the shapes stay the published ones. A context
    is an input of FC5 and FC7 beside F4 and (F1, F2), since both kinds of noise may depend on it.

    Attributes:
        n: dimension of the state; None takes that of the design model.
        m: dimension of the observation, or None.
        in_mult: FC5, FC6 and FC7 widen their input by this factor.
        out_mult: FC2 has out_mult (n^2 + m^2) hidden units.
        wiring: "corrected", as above, or "original": two older versions of the authors' code have
            F3 -> FC5 -> Q and F4 -> FC6 -> Sigma. The shapes are equal, but weights belong to the
            wiring they were trained with.
        zero_gain: whether the gain starts at zero; False draws the last layer as the authors do.

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), section III-C.
    """

    n: int | None = None
    m: int | None = None
    in_mult: int = 5
    out_mult: int = 40
    wiring: str = "corrected"
    zero_gain: bool = True

    def __post_init__(self) -> None:
        check_sizes(
            "Architecture2", n=self.n, m=self.m, in_mult=self.in_mult, out_mult=self.out_mult
        )
        if self.wiring not in {"corrected", "original"}:
            raise ValueError(
                f"Architecture2: wiring is {self.wiring!r}; expected 'corrected' or 'original'."
            )
        super().__post_init__()

    def initial_carry(self, constants: PyTree, dtype: Any) -> dict[str, Float[Array, " _"]]:
        """Return vec of "Q", "Sigma" and "S" in constants["prior"].

        Without them, return the authors' I, 0 and I.
        """
        n, m = dimensions(self)
        defaults = {"Q": jnp.eye(n), "Sigma": jnp.zeros((n, n)), "S": jnp.eye(m)}
        return _memories(constants, defaults, dtype)

    @nn.compact
    def __call__(
        self, carry: dict[str, Float[Array, " _"]], features: dict[str, Float[Array, " _"]]
    ) -> tuple[dict[str, Float[Array, " _"]], Float[Array, "n m"]]:
        """Return the new hidden states and the gain [n, m]."""
        n, m = dimensions(self)
        zero = {"F1": m, "F2": m, "F3": n, "F4": n}
        F1, F2, F3, F4 = (
            features.get(name, jnp.zeros(size, carry["Q"].dtype)) for name, size in zero.items()
        )
        to_Q, to_Sigma = (F4, F3) if self.wiring == "corrected" else (F3, F4)
        context = [features[name] for name in ("context",) if name in features]

        Q = GRU(n * n, name="GRU_Q")(carry["Q"], self._widen(_join(to_Q, *context), "FC5"))
        Sigma = GRU(n * n, name="GRU_Sigma")(carry["Sigma"], _join(Q, self._widen(to_Sigma, "FC6")))
        from_Sigma = nn.relu(_dense(m * m, Sigma, "FC1"))
        S = GRU(m * m, name="GRU_S")(
            carry["S"], _join(from_Sigma, self._widen(_join(F1, F2, *context), "FC7"))
        )
        units = self.out_mult * (n * n + m * m)
        hidden = nn.relu(_dense(units, _join(Sigma, S), "FC2"))
        gain = _dense(n * m, hidden, "gain", zero=self.zero_gain)

        # As the Kalman filter ends a step with P = (I - K H) P, the memory of the covariance is
        # updated with the gain and S, which the next step starts from.
        back = nn.relu(_dense(n * n, _join(S, gain), "FC3"))
        Sigma = nn.relu(_dense(n * n, _join(Sigma, back), "FC4"))
        return {"Q": Q, "Sigma": Sigma, "S": S}, gain.reshape(n, m)

    def _widen(self, x: Array, name: str) -> Array:
        """Apply a dense layer that is in_mult times as wide as its input."""
        return nn.relu(_dense(self.in_mult * x.shape[-1], x, name))


class BackwardArchitecture(nn.Module):
    """The backward network of RTSNet: a GRU for each covariance of the smoother, Q and Sigma (P).

    With d -> FC a dense layer with ReLU, in one step

        Q = GRU(F4 -> FC3),  Sigma = GRU(Q, (F2, F3) -> FC4),  G = Sigma -> FC1,

    and the next hidden state of Sigma is (Sigma, G) -> FC2. Features are those of
    `kfjax.learned.gains.learned_smoother`; one that is left out counts as zero.

    Attributes:
        n: dimension of the state; None takes that of the design model.
        in_mult: FC3 and FC4 widen their input by this factor.
        out_mult: FC1 has out_mult n^2 hidden units.
        zero_gain: whether the gain starts at zero, so that the untrained smoother returns the
            estimates of its filter; False draws the last layer as the authors do.

    References:
        G. Revach, X. Ni et al., RTSNet: learning to smooth in partially known state-space models,
        IEEE Trans. Signal Process. 71 (2023).
    """

    n: int | None = None
    in_mult: int = 5
    out_mult: int = 40
    zero_gain: bool = True

    def __post_init__(self) -> None:
        check_sizes("BackwardArchitecture", n=self.n, in_mult=self.in_mult, out_mult=self.out_mult)
        super().__post_init__()

    @property
    def m(self) -> int | None:
        """The dimension of what the gain multiplies, a difference of states."""
        return self.n

    def initial_carry(self, constants: PyTree, dtype: Any) -> dict[str, Float[Array, " _"]]:
        """Return vec of "Q" and "Sigma" in constants["prior"]; the defaults are I and 0."""
        n, _ = dimensions(self)
        defaults = {"Q": jnp.eye(n), "Sigma": jnp.zeros((n, n))}
        return _memories(constants, defaults, dtype)

    @nn.compact
    def __call__(
        self, carry: dict[str, Float[Array, " _"]], features: dict[str, Float[Array, " _"]]
    ) -> tuple[dict[str, Float[Array, " _"]], Float[Array, "n n"]]:
        """Return the new hidden states and the gain [n, n]."""
        n, _ = dimensions(self)
        zero = jnp.zeros(n, carry["Q"].dtype)
        F2, F3, F4 = (features.get(name, zero) for name in ("F2", "F3", "F4"))
        to_Q = nn.relu(_dense(self.in_mult * n, F4, "FC3"))
        Q = GRU(n * n, name="GRU_Q")(carry["Q"], to_Q)
        to_Sigma = nn.relu(_dense(2 * self.in_mult * n, _join(F2, F3), "FC4"))
        Sigma = GRU(n * n, name="GRU_Sigma")(carry["Sigma"], _join(Q, to_Sigma))
        hidden = nn.relu(_dense(self.out_mult * n * n, Sigma, "FC1"))
        gain = _dense(n * n, hidden, "gain", zero=self.zero_gain)
        Sigma = nn.relu(_dense(n * n, _join(Sigma, gain), "FC2"))
        return {"Q": Q, "Sigma": Sigma}, gain.reshape(n, n)


def _memories(constants: PyTree, defaults: dict[str, Array], dtype: Any) -> dict[str, Array]:
    """Return vec of each matrix in constants["prior"], or of its default."""
    given = (constants or {}).get("prior", {})
    return {
        name: jnp.array(given.get(name, value), dtype).reshape(-1)
        for name, value in defaults.items()
    }


def _join(*parts: Array) -> Array:
    return jnp.concatenate(parts)


def _dense(size: int, x: Array, name: str, *, zero: bool = False) -> Array:
    """Apply a dense layer; to be called inside a compact method."""
    draw = nn.initializers.zeros if zero else pytorch_uniform(x.shape[-1])
    return nn.Dense(size, kernel_init=draw, bias_init=draw, dot_general=dot_general, name=name)(x)
