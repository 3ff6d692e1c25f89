"""Optional arguments, which most calls leave out, are checked like all others."""

import pytest
from support.bad_calls import Bad, Nothing, outcome
from support.good_calls import GOOD

OPTIONAL = [
    *(("sample_posterior", "length"), ("simulate_smoothed", "us"), ("simulate_smoothed", "state")),
    *(("simulate_smoothed", "length"), ("imm_smooth", "us"), ("fallback", "reset")),
    *(("rao_blackwellised", "resampling"), ("auxiliary_particle", "resampling"), ("imm", "maps")),
    *(("ensemble", "localisation"), ("filters.Soft", "scheme"), ("Dataset", "dtype")),
    *(("from_xarray", "xs"), ("from_xarray", "us"), ("from_xarray", "by")),
    *(("data.read_npz", "split"), ("compare", "key"), ("monte_carlo", "us")),
    *(("monte_carlo", "resume"), ("evaluation.mse", "difference")),
    *(("evaluation.nees", "difference"), ("evaluation.coverage", "difference")),
    *(("learned.kalman_net", "feature_map"), ("learned.init_params", "constants")),
    *(("learned.residual_model", "regressor"), ("learned.start_adapting", "optimizer")),
    *(("learned.measure_scales", "us"), ("learned.measure_scales", "observed")),
    *(("training.state_mse", "scale"), ("training.tune", "skip"), ("training.diagnose", "history")),
    *(("training.fit", name) for name in ("optimizer", "validation_loss", "ema", "checkpoints")),
    *(("training.fit", name) for name in ("hyperparameters", "learn")),
    *(("learned.adapt", "us"),),
    ("StateSpaceModel", "observation_log_density"),
    # flags
    *((name, "checked") for name in ("run", "log_likelihood", "two_filter_smooth", "steady_state")),
    *(("step", "donate"), ("gaussian_filter", "linear_only"), ("non_additive", "in_f")),
    *(("non_additive", "in_h"), ("learned.fit_labelled", "inputs")),
    *(("learned.fit_labelled", "offsets"), ("learned.residual_model", "full")),
    *(("learned.context_noise", "full"), ("systems.lorenz", "wrap"), ("data.fetch", "unpack")),
    *(("training.distil", "smoothing"), ("training.maximum_likelihood", "standard_errors")),
    *(("exporting.export_step", "masked"), ("exporting.export_run", "masked")),
    *(("training.fit_many", name) for name in ("bounds", "transform", "resume", "progress")),
]
TEXTS = [
    *(("plot_comparison", "title"), ("plot_record", "title"), ("plot_consistency", "ylabel")),
    *(("plot_errors", "ylabel"), ("plot_history", "ylabel"), ("plot_noise_sweep", "xlabel")),
    *(("plot_noise_sweep", "ylabel"), ("plot_ellipses", "label"), ("plot_nees", "label")),
    *(("plot_nis", "label"), ("plot_path", "label"), ("plot_trajectory", "label")),
]
BAD = {"an object": Nothing(), "a string": "nonsense", "a number": 1.5}
NUMBERS_MAY_BE = {"learned.init_params"}  # a pytree of numbers
NAMES_MAY_BE = {"from_xarray", "monte_carlo", "training.fit_many"}  # of variables, of a folder


@pytest.mark.parametrize(("row", "argument"), OPTIONAL)
def test_what_is_no_value_of_an_optional_argument_is_refused(row, argument):
    for label, value in BAD.items():
        if label == "a number" and row in NUMBERS_MAY_BE:
            continue
        if label == "a string" and row in NAMES_MAY_BE and argument != "us":
            continue
        kind, text = outcome(Bad(row, argument, label), GOOD[row]() | {argument: value})
        assert kind == "clear", (label, kind, text)


@pytest.mark.parametrize(("function", "argument"), TEXTS)
def test_what_is_no_text_is_not_drawn(function, argument):
    row = f"plotting.{function}"
    for value in (Nothing(), 1.5, ("a", "b")):
        kind, text = outcome(Bad(row, argument, ""), GOOD[row]() | {argument: value})
        assert kind == "clear", (kind, text)
