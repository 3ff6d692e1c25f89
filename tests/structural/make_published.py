"""Write published.json: values of KFAS (as statsmodels ships them) and of statsmodels itself.

python make_published.py, in an environment with statsmodels 0.15. The results of KFAS 1.3.1 are in
statsmodels/tsa/statespace/tests/results; its log-likelihood leaves out the constant of the channels
that determine a diffuse direction, which statsmodels adds again, as is done here.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels
from statsmodels import datasets
from statsmodels.tsa.statespace.sarimax import SARIMAX
from statsmodels.tsa.statespace.structural import UnobservedComponents
from statsmodels.tsa.statespace.tests import test_exact_diffuse_filtering as cases

HERE = Path(__file__).parent
RESULTS = Path(cases.__file__).parent / "results"
MACRO = datasets.macrodata.load_pandas().data
AIRLINE = """112 118 132 129 121 135 148 148 136 119 104 118 115 126 141 135 125 149 170 170 158 133
114 140 145 150 178 163 172 178 199 199 184 162 146 166 171 180 193 181 183 218 230 242 209 191 172
194 196 196 236 235 229 243 264 272 237 211 180 201 204 188 235 227 234 264 302 293 259 229 203 229
242 233 267 269 270 315 364 347 312 274 237 278 284 277 317 313 318 374 413 405 355 306 271 306 315
301 356 348 355 422 465 467 404 347 305 336 340 318 362 348 363 435 491 505 404 359 310 337 360 342
406 396 420 472 548 559 463 407 362 405 417 391 419 461 472 535 622 606 508 461 390 432"""


def of_kfas(name, ssm):
    """Return a model with exactly diffuse states, data and results."""
    result = ssm.smooth()
    kfas = pd.read_csv(RESULTS / f"results_exact_initial_{name}_R.csv")
    infinite = kfas[[key for key in kfas if key.startswith("Finf")]].to_numpy()[: ssm.nobs]
    used = (infinite * ~np.isnan(ssm.endog.T) > 0).sum()
    Q = ssm["selection"] @ ssm["state_cov"] @ ssm["selection"].T
    diffuse = result.initial_diffuse_state_cov
    return {
        "F": ssm["transition"].tolist(),
        "H": ssm["design"].tolist(),
        "Q": Q.tolist(),
        "R": ssm["obs_cov"].tolist(),
        "cov": result.initial_state_cov.tolist(),
        "diffuse": np.flatnonzero(np.diag(diffuse)).tolist(),
        "ys": ssm.endog.T.tolist(),
        "kfas_llf": float(kfas["llf"][0] - 0.5 * np.log(2 * np.pi) * used),
        "llf": float(result.llf_obs.sum()),
        "smoothed": result.smoothed_state.T.tolist(),
        "variances": np.diagonal(result.smoothed_state_cov.T, axis1=1, axis2=2).tolist(),
    }


def models_of_kfas():
    """Return the models that KFAS was run on."""
    levels = np.log(MACRO[["realgdp", "realcons"]]).iloc[:21].diff().iloc[1:] * 400
    gaps = levels.copy()
    gaps.iloc[0:5, 0] = np.nan
    gaps.iloc[8:12, :] = np.nan
    trend = np.r_[10.2394, np.nan, 6.123123, [1] * 7]
    mixed = cases.Initialization(2)
    mixed.set(0, "diffuse")
    mixed.set(1, "stationary")
    ssms = {
        "local_level": cases.model_local_level()[1],
        "local_linear_trend": cases.model_local_linear_trend()[1],
        "local_linear_trend_missing": cases.model_local_linear_trend(endog=trend)[1],
        "common_level": cases.model_common_level(),
        "common_level_restricted": cases.model_common_level(restricted=True),
        "var1": cases.model_var1()[1],
        "var1_measurement_error": cases.model_var1(measurement_error=True)[1],
        "var1_missing": cases.model_var1(endog=gaps)[1],
        "var1_mixed": cases.model_var1(init=mixed)[1],
        "dfm": cases.model_dfm()[1],
    }
    for ssm in ssms.values():
        ssm.filter_univariate = True
    return {name: of_kfas(name, ssm) for name, ssm in ssms.items()}


def sums():
    """Return log-likelihoods of sums of components."""
    y = MACRO["unemp"].to_numpy()
    x = np.log(MACRO["realgdp"]).to_numpy()
    turn = 2 * np.pi / 10
    models = {
        "local level": ([0.1, 0.12], {"level": "llevel"}),
        "local linear trend": ([0.01, 0.01, 0.06], {"level": "lltrend"}),
        "smooth trend": ([0.001, 0.08], {"level": "strend"}),
        "dummies": ([38.0, 0.1], {"irregular": True, "seasonal": 4}),
        "waves": ([38.0, 0.05], {"irregular": True, "freq_seasonal": [{"period": 5}]}),
        "even waves": (
            [38.0, 0.05],
            {"irregular": True, "freq_seasonal": [{"period": 12, "harmonics": 6}]},
        ),
        "damped cycle": (
            [20.0, 0.1, turn, 0.9],
            {"irregular": True, "cycle": True, "stochastic_cycle": True, "damped_cycle": True},
        ),
        "regression": ([2.2], {"irregular": True, "exog": x, "mle_regression": False}),
        "trend and autoregression": ([0.06, 0.01, 0.96], {"level": "rtrend", "autoregressive": 1}),
        "everything": (
            [0.0001, 0.01, 0.06, 0.0001, 0.0001, 0.1, turn, 0.2],
            {
                "level": "lltrend",
                "autoregressive": 1,
                "cycle": True,
                "stochastic_cycle": True,
                "seasonal": 4,
                "exog": x,
                "mle_regression": False,
            },
        ),
    }
    values = {}
    for name, (params, options) in models.items():
        model = UnobservedComponents(y, use_exact_diffuse=True, **options)
        values[name] = float(model.loglike(params))
    air = np.log(np.array(AIRLINE.split(), float))
    airline = SARIMAX(air, order=(0, 1, 1), seasonal_order=(0, 1, 1, 12), use_exact_diffuse=True)
    values["airline"] = float(airline.loglike([-0.4, -0.55, 0.0014]))
    nile = datasets.nile.load_pandas().data["volume"].to_numpy()
    values["nile"] = float(
        UnobservedComponents(nile, "llevel", use_exact_diffuse=True).loglike([15099.0, 1469.1])
    )
    series = {"unemployment": y.tolist(), "log_gdp": x.tolist(), "nile": nile.tolist()}
    return {"values": values, "series": series | {"log_passengers": air.tolist()}}


def main():
    """Write the file."""
    warnings.simplefilter("ignore")
    made = {"statsmodels": statsmodels.__version__, "models": models_of_kfas()} | sums()
    rounded = json.loads(json.dumps(made), parse_float=lambda text: float(f"{float(text):.12g}"))
    (HERE / "published.json").write_text(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    main()
