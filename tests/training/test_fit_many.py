"""Many series, each with its own parameters."""

import json

import jax
import numpy as np
import pandas as pd
import pytest
from support.nile import NILE

import kfjax as kf
from benchmarks.structural.__main__ import HERE, main
from benchmarks.structural.page import page
from kfjax import structural as st
from kfjax.training import fit_many, maximum_likelihood, partition
from kfjax.training.diffuse_lead import lead_of, run_with_lead

EXACT = kf.exact_diffuse()


def local_level():
    """A level and noise, in the precision of the moment."""
    return st.level(1.0) + st.irregular(1.0)


def series():
    """The Nile in two units, with a gap, and shorter; noise; and what cannot be fitted."""
    nile = np.asarray(NILE)[:, 0]
    noise = np.random.default_rng(3).normal(size=100)
    empty = np.full(100, np.nan)
    rows = np.stack([nile, 1e-3 * nile, nile, nile, noise, np.ones(100), nile, empty])
    rows[2, 40:60] = np.nan
    rows[6, 2:] = np.nan
    names = ["nile", "small", "gap", "short", "noise", "flat", "two", "empty"]
    labels = kf.data.Labels(series=names)
    length = [100, 100, 100, 60, 100, 100, 100, 100]
    return kf.Dataset(rows[..., None], length=length, labels=labels)


@pytest.fixture(scope="module")
def fits():
    why = r"3 of 8 .*level\.std, irr.*: 1 constant \(series flat\); 2 .*, 4 are .* two, empty\)"
    with jax.enable_x64(True), pytest.warns(UserWarning, match=why):
        yield fit_many(EXACT, local_level(), series())


def test_the_nile_in_any_unit_as_published(fits):
    """Durbin and Koopman (2012), section 2.10 and equation (7.4)."""
    assert fits.log_likelihood[0] == pytest.approx(-633.4646, abs=1e-3)
    np.testing.assert_allclose(fits.values[0] ** 2, [1469.1, 15099], rtol=0.01)
    np.testing.assert_allclose(1e3 * fits.values[1], fits.values[0], rtol=1e-6)
    assert fits.log_likelihood[1] - fits.log_likelihood[0] == pytest.approx(99 * np.log(1e3))


def test_gaps_and_lengths_in_one_batch_are_those_of_each_series_alone(x64, fits):
    ys = np.asarray(series().ys[2])
    seen = np.asarray(series().observed[2])
    stds = fits.values[2] * np.array([[1, 1], [1.05, 1], [0.95, 1], [1, 1.02], [1, 0.98]])

    def total(level, irregular):
        model = fits.params(2).with_parameters({"level.std": level, "irregular.std": irregular})
        return kf.log_likelihood(EXACT, model, ys, observed=seen)

    there, *beside = np.asarray(jax.vmap(total)(*stds.T))
    assert there == pytest.approx(fits.log_likelihood[2], abs=1e-9)
    assert max(beside) < there
    short = kf.log_likelihood(EXACT, fits.params(3), NILE[:60])
    assert float(short) == pytest.approx(fits.log_likelihood[3], abs=1e-9)
    assert fits.observations.tolist() == [100, 100, 80, 60, 100, 100, 2, 0]


def test_failures_have_a_status_and_no_numbers(fits):
    wanted = ["converged"] * 4 + ["at an end", "constant"] + ["too few observations"] * 2
    assert fits.status.tolist() == wanted
    assert np.isnan(fits.values[5:]).all()
    assert np.isfinite(fits.values[:5]).all()
    with pytest.raises(ValueError, match="flat has no estimates, it is 'constant'"):
        fits.params(5)


def test_a_table_and_files(fits, tmp_path):
    assert "too few observations         2" in str(fits)
    for name, read in (("a.csv", pd.read_csv), ("a.parquet", pd.read_parquet)):
        fits.save(tmp_path / name)
        table = read(tmp_path / name)
        np.testing.assert_allclose(table["level.std"], fits.values[:, 0])
    assert fits.to_pandas().index[2] == "gap"
    with pytest.raises(ValueError, match=r"ends in \.csv or \.parquet"):
        fits.save(tmp_path / "a.xls")


def test_an_interrupted_call_goes_on(x64, fits, tmp_path, monkeypatch):
    def again(**options):
        with pytest.warns(UserWarning, match="3 of 8"):
            return fit_many(EXACT, local_level(), series(), chunk=4, resume=tmp_path, **options)

    first = again()
    np.testing.assert_allclose(first.values, fits.values, rtol=1e-9)
    names = sorted(path.name for path in tmp_path.glob("series_*"))
    assert names == ["series_0000000000_4.npz", "series_0000000004_4.npz"]
    (tmp_path / names[1]).unlink()
    np.testing.assert_array_equal(again().values, first.values)

    def never(*args):
        raise AssertionError("a chunk was fitted again")

    monkeypatch.setattr("kfjax.training.many.fitted", never)
    np.testing.assert_array_equal(again().values, first.values)
    with pytest.raises(ValueError, match="another study: it differs in options"):
        fit_many(EXACT, local_level(), series(), chunk=4, skip=1, resume=tmp_path)
    (tmp_path / names[0]).write_bytes(b"half")
    with pytest.raises(ValueError, match="is damaged"):
        fit_many(EXACT, local_level(), series(), chunk=4, resume=tmp_path)


def test_a_variance_that_vanishes_is_at_an_end(fits):
    assert fits.at_end[4].tolist() == [True, False]
    assert np.isnan(fits.std_errors[4, 0])
    noise = np.asarray(series().ys[4])
    assert fits.values[4, 1] == pytest.approx(noise.std(), rel=0.02)


def test_a_structural_model_is_fitted_by_its_own_parameters(x64):
    model = st.level(30.0) + st.irregular(100.0)
    fit = maximum_likelihood(EXACT, model, NILE, starts=1)
    assert [parameter.name for parameter in fit.parameters] == ["level.std", "irregular.std"]
    assert fit.log_likelihood == pytest.approx(-633.4646, abs=1e-3)
    assert fit.params["level"].std == pytest.approx(fit["level.std"].estimate)
    with pytest.raises(ValueError, match=r"bounds has 'slope\.std', which is not learned"):
        maximum_likelihood(EXACT, model, NILE, bounds={"slope.std": (0, 1)})


@pytest.mark.parametrize(
    "model",
    [
        st.trend(0.1, 0.2, damping=0.9) + st.seasonal(4, 0.3) + st.irregular(0.4),
        st.cycle(9.0, 0.3, damping=0.8) + st.autoregression([0.4, 0.1], 0.2) + st.irregular(0.5),
        st.matern(1.5, std=0.7, length_scale=3.0) * st.periodic(7.0) + st.regression(2),
        st.arima(ar=[0.2], ma=[0.3], std=1.5, difference=1),
        st.autoregression([0.8], loading=[[1.0], [0.5]]) + st.irregular(np.array([0.3, 0.6])),
    ],
    ids=str,
)
def test_parameters_by_name_are_in_the_order_of_the_leaves(model):
    trained, _ = partition(model, True)
    leaves = jax.tree.leaves(trained)
    for leaf, value in zip(leaves, model.parameters.values(), strict=True):
        assert leaf is value or np.array_equal(leaf, value)


def test_the_committed_page_is_that_of_the_committed_results():
    results = json.loads((HERE / "fitting.json").read_text())
    assert (HERE / "RESULTS.md").read_text() == page(results)
    assert not results["quick"]


@pytest.mark.slow
def test_the_benchmark_runs_in_its_quick_form(x64, tmp_path, monkeypatch):
    pytest.importorskip("statsmodels")
    monkeypatch.setattr("sys.argv", ["structural", "--quick", "--out", str(tmp_path)])
    main()
    results = json.loads((tmp_path / "fitting.json").read_text())
    assert results["starts"]["exactly diffuse"]["as_good"] == 1
    assert "32 series" in (tmp_path / "RESULTS.md").read_text()


def test_a_diffuse_start_takes_as_many_steps_as_the_observations_say(x64):
    model = st.level(1.0) + st.seasonal(4, 0.5) + st.irregular(1.0)
    seen = np.ones((3, 20, 1), bool)
    assert lead_of(EXACT, model, seen).steps == 4
    assert lead_of(EXACT, model, seen).filter == kf.kalman()
    seen[1, [1, 5]] = False  # the second month of the season comes in step 10
    assert lead_of(EXACT, model, seen).steps == 10
    seen[2, 1:] = False
    assert lead_of(EXACT, model, seen) is None
    assert lead_of(kf.kalman(), model, seen) is None

    rows = np.random.default_rng(4).normal(size=(20, 1)).cumsum(0)
    rows[[1, 5]] = np.nan
    data = kf.Dataset(rows[None])
    one = jax.tree.map(lambda a: a[0], data)
    lead = lead_of(EXACT, model, np.asarray(data.observed))
    found, _ = run_with_lead(EXACT, model, one, lead, kf.estimate)
    wanted = kf.run(EXACT, model, one.ys, observed=one.observed).outputs
    np.testing.assert_allclose(found.log_likelihood, wanted.log_likelihood, atol=1e-10)
    np.testing.assert_allclose(found.mean, wanted.mean, atol=1e-9)
    # too short a start is not passed over
    wrong, _ = run_with_lead(EXACT, model, one, lead._replace(steps=9), kf.estimate)
    assert np.isnan(wrong.log_likelihood).all()
