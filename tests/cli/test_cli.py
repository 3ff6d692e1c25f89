"""The command line as people use it: tables, files, and an error of one line for each mistake."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from support.files import arrays_in

import kfjax as kf
from kfjax._cli import compare as commands
from kfjax._cli.parser import main
from kfjax._cli.studies import system_study
from kfjax._support import interrupts
from kfjax.data import Dataset, run_trajectory

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "models"
MODELS = """
import jax.numpy as jnp
import kfjax as kf

model = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
loose = model.replace(R=400 * model.R)
pendulum = kf.systems.pendulum()
driven = kf.StateSpaceModel(
    lambda x, u: x + u["dt"], lambda x, u: x[:1], jnp.eye(2), jnp.eye(1), model.prior
)
pushed = kf.linear_gaussian(
    jnp.eye(2), jnp.eye(1, 2), jnp.eye(2), jnp.eye(1), model.prior, B=jnp.ones((2, 3))
)
number = 3

def make():
    return model

def fails():
    return 1 / 0

def lopsided():
    return model.replace(Q=jnp.array([[1.0, 0.5], [0.0, 1.0]]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Model files and data files, good and bad."""
    place = tmp_path_factory.mktemp("cli")
    (place / "models.py").write_text(MODELS)
    (place / "broken.py").write_text("import kfjax\nx = nothing\n")
    truth = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
    keys = jax.random.split(jax.random.key(0), 11)
    longer = [np.asarray(a) for a in jax.vmap(lambda key: kf.simulate(key, truth, 200))(keys)]
    xs, ys = (a[:10, :30] for a in longer)
    gaps = np.where(np.random.default_rng(0).random(ys.shape) < 0.1, np.nan, ys)
    np.savez(place / "good.npz", obs=ys, state=xs)
    np.savez(place / "gaps.npz", obs=gaps, length=np.arange(21, 31))
    np.savez(place / "extra.npz", obs=ys[:, :, 0], note=0)
    np.savez(place / "no_obs.npz", observations=ys)
    np.savez(place / "no_steps.npz", obs=ys[:, :0])
    np.savez(place / "transposed.npz", obs=ys.swapaxes(1, 2))
    np.savez(place / "wide.npz", obs=np.tile(ys, 2))
    np.savez(place / "other_state.npz", obs=ys, state=np.tile(xs, 2))
    np.savez(place / "inputs.npz", obs=ys, inputs=np.tile(ys, 2))
    np.savez(place / "short_inputs.npz", obs=ys, inputs=ys[:, 1:])
    np.savez(place / "one.npz", obs=longer[1][10], state=longer[0][10])
    (place / "text.npz").write_text("hello")
    return place


PICTURES = commands._pictures
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def here(folder, monkeypatch, tmp_path):
    """A folder for the results, with earlier results in it; the data folder is the current one."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        commands, "_pictures", lambda *_: {"compare.png": PNG}
    )  # one test draws; it takes a second
    for name in ("compare.json", "compare.png", "est.npz"):
        (tmp_path / name).write_text("earlier")
    return tmp_path


def untouched(place):
    return sorted((file.name, file.read_text()) for file in place.iterdir()) == [
        (name, "earlier") for name in ("compare.json", "compare.png", "est.npz")
    ]


def compare(here, *arguments):
    """Run compare, and return the files that it wrote."""
    assert main(["compare", *arguments, "--out", str(here)]) == 0
    assert (here / "compare.png").read_bytes().startswith(PNG)
    return json.loads((here / "compare.json").read_text())


GOOD = ("--data", "good.npz", "--model", "models.py:model")


def test_compare_on_data_with_truth(here, capsys, monkeypatch):
    monkeypatch.setattr(commands, "_pictures", PICTURES)
    written = compare(here, *GOOD, "--filters", "kalman", "--components", "0")
    (table,) = written["tables"]
    assert [row["name"] for row in table["rows"]] == ["kalman"]
    error = table["rows"][0]["mse_db"]["value"]
    data = arrays_in("good.npz")
    model = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
    means = jax.vmap(lambda y: kf.run(kf.kalman(), model, y).outputs.mean)(data["obs"])
    assert abs(error - 10 * np.log10(np.mean((means - data["state"])[..., 0] ** 2))) < 1e-3
    assert abs(table["rmse"]["kalman"]["value"] - 10 ** (error / 20)) < 1e-6
    printed = capsys.readouterr()
    assert "kalman" in printed.out
    assert (here / "compare.png").stat().st_size > 10_000
    assert (here / "compare.pdf").read_bytes().startswith(b"%PDF")
    assert written["tables"][0]["answer"] in " ".join(printed.out.split())
    assert "RMSE, the root of the MSE" in printed.out
    assert printed.err == ""


def test_compare_without_truth_on_gaps_and_lengths(here, capsys):
    written = compare(
        here, "--data", "gaps.npz", "--model", "models.py:make", "--filters", "kalman", "--json"
    )
    (table,) = written["tables"]
    printed = capsys.readouterr()
    assert json.loads(printed.out) == written
    assert printed.err == ""
    for row in table["rows"]:
        assert row["mse_db"] is None
        assert row["anees"] is None
        assert 0.5 < row["anis"]["value"] < 2
        assert row["log_likelihood"]["value"] is not None
        assert row["prediction_db"]["value"] is not None
        assert row["whiteness"] is not None
    assert table["rmse"] == {}


def test_compare_simulates_and_leaves_out_what_cannot_run(here, capsys, monkeypatch):
    monkeypatch.setitem(commands.GROUPS, "common", ("kalman", "extended"))
    written = compare(here, "--model", "models.py:pendulum", "--trajectories", "8", "--steps", "12")
    (table,) = written["tables"]
    assert [row["name"] for row in table["rows"]] == ["extended"]
    assert list(table["left_out"]) == ["kalman"]
    assert "Left out: kalman, since the model has a nonlinear f or h" in capsys.readouterr().out
    assert table["settings"]["trajectories"] == 8


def test_the_study_without_arguments_is_stated_and_has_wrong_models(here, capsys):
    sizes = ("--trajectories", "10", "--steps", "10", "--filters", "extended")
    written = compare(here, *sizes)
    titles = [table["title"] for table in written["tables"]]
    assert [title.partition(":")[0] for title in titles] == [
        "Matched",
        "Wrong dynamics",
        "Wrong noise",
    ]
    assert "10 trajectories of 10 steps, seed 0" in written["study"]
    assert all(title in capsys.readouterr().out for title in titles[:1])
    likelihoods = [table["rows"][0]["log_likelihood"]["value"] for table in written["tables"]]
    assert likelihoods[0] == max(likelihoods)
    (quick,) = compare(here, *sizes, "--quick")["tables"]  # the matched model only
    assert quick["rows"][0]["log_likelihood"]["value"] == likelihoods[0]
    (other,) = compare(here, *sizes, "--quick", "--seed", "1")["tables"]
    assert other["rows"][0]["log_likelihood"]["value"] != likelihoods[0]


def test_a_system_by_name_has_its_inputs():
    study = system_study("tutorial_climb", steps=7, trajectories=3)
    assert study.data.us.shape == (3, 7, 2)
    assert study.data.ys.shape == (3, 7, 3)


def test_tuning_improves_what_is_reported(here, capsys):
    options = ("--model", "models.py:loose", "--filters", "kalman", "--tune", "scalar")
    (table,) = compare(here, "--data", "one.npz", *options)["tables"]
    before, after = table["rows"]
    assert (before["name"], after["name"]) == ("kalman", "kalman, tuned")
    assert after["log_likelihood"]["value"] > before["log_likelihood"]["value"] + 0.5
    tuned = table["tuning"]["kalman"]
    assert 1 / 800 < tuned["scales"]["R"] < 1 / 200
    np.testing.assert_allclose(tuned["R"], [[0.04 * 400 * tuned["scales"]["R"]]], rtol=1e-5)
    assert table["settings"]["skip"] == 160
    assert "test part one trajectory of 200 steps, from step 161 on" in " ".join(
        capsys.readouterr().out.split()
    )


def test_filter_writes_what_run_and_smooth_give(here, capsys):
    out = here / "est.npz"
    arguments = (
        "--data",
        "gaps.npz",
        "--model",
        "models.py:model",
        "--filter",
        "kalman",
        "--smooth",
        "--x64",
    )
    assert main(["filter", *arguments, "--out", str(out)]) == 0
    assert not jax.config.jax_enable_x64
    assert "smoothed_cov [10, 30, 2, 2]" in capsys.readouterr().out
    written = arrays_in(out)
    assert sorted(written) == [
        "cov",
        "length",
        "log_likelihood",
        "mean",
        "smoothed_cov",
        "smoothed_mean",
    ]
    with jax.enable_x64(True):
        model = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
        given = arrays_in("gaps.npz")
        data = Dataset(given["obs"], length=given["length"])
        est = jax.vmap(lambda one: run_trajectory(kf.kalman(), model, one).outputs)(data)
        smoothed = jax.vmap(lambda e, T: kf.smooth(kf.kalman(), model, e, length=T))(
            est, given["length"]
        )
    expected = {"mean": est.mean, "cov": est.cov, "log_likelihood": est.log_likelihood}
    expected |= {
        "smoothed_mean": smoothed.mean,
        "smoothed_cov": smoothed.cov,
        "length": given["length"],
    }
    for name, value in expected.items():
        assert written[name].dtype in (np.float64, np.int32)
        np.testing.assert_allclose(written[name], value, rtol=1e-9, atol=1e-12)


def test_notes_are_one_line(here, capsys):
    assert (
        main(["filter", "--data", "extra.npz", "--model", "models.py:model", "--filter", "kalman"])
        == 2
    )
    note, error = capsys.readouterr().err.splitlines()
    assert note.startswith("kfjax: note: extra.npz: not used: note")
    assert error.startswith("kfjax: error: ")


ON_GOOD = ["--data", "good.npz", "--model"]
BAD = {
    # the model
    ("compare", "--data", "good.npz"): "got --data without --model",
    ("compare", *ON_GOOD, "none.py:model"): "there is no model file none.py",
    (
        "compare",
        *ON_GOOD,
        "models.py",
    ): "without the name of a model; expected one of driven, fails, loose",
    (
        "compare",
        *ON_GOOD,
        "models.py:modle",
    ): "has no 'modle'; expected one of .* Did you mean 'model'",
    (
        "compare",
        *ON_GOOD,
        "models.py:number",
    ): "number is or gives int; expected a kfjax.StateSpaceModel",
    ("compare", *ON_GOOD, "models.py:fails"): "fails\\(\\) failed \\(ZeroDivisionError, line 20",
    ("compare", *ON_GOOD, "models.py:lopsided"): "Q is not symmetric",
    ("compare", *ON_GOOD, "broken.py:model"): "broken.py cannot be run \\(NameError, line 2",
    ("compare", *ON_GOOD, "models.py:driven"): "there are no inputs: pass us=",
    ("compare", *ON_GOOD, "models.py:pushed"): "got no input u",
    ("compare", "--model", "models.py:driven"): "the model cannot be simulated",
    # the data
    ("compare", "--data", "none.npz", "--model", "models.py:model"): "no file or folder none.npz",
    ("compare", "--data", "text.npz", "--model", "models.py:model"): "text.npz cannot be read",
    (
        "compare",
        "--data",
        "no_obs.npz",
        "--model",
        "models.py:model",
    ): "got the keys observations; expected obs",
    (
        "compare",
        "--data",
        "no_steps.npz",
        "--model",
        "models.py:model",
    ): "expected \\[N, T, m\\], all above 0",
    ("compare", "--data", "transposed.npz", "--model", "models.py:model"): "It looks transposed",
    (
        "compare",
        "--data",
        "wide.npz",
        "--model",
        "models.py:model",
    ): "expected \\[T, m\\] with m = 1",
    (
        "compare",
        "--data",
        "other_state.npz",
        "--model",
        "models.py:model",
    ): "state has 4 components .* 2; expected",
    (
        "compare",
        "--data",
        "inputs.npz",
        "--model",
        "models.py:pushed",
    ): "shape \\(2,\\); expected \\(3,\\)",
    (
        "compare",
        "--data",
        "inputs.npz",
        "--model",
        "models.py:driven",
    ): "cannot be evaluated on the data \\(TypeError",
    (
        "compare",
        "--data",
        "short_inputs.npz",
        "--model",
        "models.py:model",
    ): "expected 10 trajectories of 30 steps",
    ("compare", *GOOD, "--split", "test"): "has no parts",
    # the choices
    (
        "compare",
        *GOOD,
        "--filters",
        "kalman,unscneted",
    ): "unknown filter 'unscneted'; .* Did you mean 'unscented'",
    ("compare", "--system", "lorentz"): "'lorentz'; expected one of .* Did you mean 'lorenz'",
    ("compare", *GOOD, "--system", "toy"): "got --system with --data",
    ("compare", *GOOD, "--components", "0,2"): "expected numbers from 0 to 1",
    ("compare", *GOOD, "--components", "x"): "expected numbers from 0 with commas",
    ("compare", *GOOD, "--tune", "scaler"): "invalid choice: 'scaler'",
    ("compare", *GOOD, "--steps", "5"): "expected them for simulated data only",
    ("compare", *GOOD, "--objective", "mse"): "got --objective mse without --tune",
    ("compare", "--steps", "0"): "expected a whole number of at least 1",
    ("compare", "--split", "test"): "got --split without --data",
    ("compare", *GOOD, "--filters", "kalman", "--out", "good.npz"): "cannot write into good.npz",
    (
        "compare",
        "--data",
        "gaps.npz",
        "--model",
        "models.py:model",
        "--components",
        "0",
    ): "have no true states",
    ("compare", "--nonsense"): "unrecognized arguments: --nonsense",
    ("comprae",): "invalid choice: 'comprae'",
    (): "required: COMMAND",
    ("filter", *GOOD): "one of the arguments --filter --load is required",
    ("filter", *GOOD, "--filter", "kalmann"): "Did you mean 'kalman'",
    (
        "filter",
        *ON_GOOD,
        "models.py:pendulum",
        "--filter",
        "kalman",
    ): "the model has a nonlinear f or h",
    ("filter", *GOOD, "--filter", "kalman", "--out", "."): "is a folder; expected a file",
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input_is_one_line_and_leaves_earlier_files(here, capsys, arguments):
    place = here / "est.npz" if "filter" in arguments else here
    out = ["--out", str(place)] if arguments and "--out" not in arguments else []
    assert main([*arguments, *out]) == 2
    error = capsys.readouterr().err
    (line,) = error.splitlines()
    assert line.startswith("kfjax: error: ")
    assert re.search(BAD[arguments], line)
    assert untouched(here)


def failing(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (ValueError("no picture"), 2)]
)
def test_what_goes_wrong_at_the_end_leaves_earlier_files_too(
    here, monkeypatch, capsys, error, status
):
    monkeypatch.setattr(commands, "_pictures", failing(error))
    assert main(["compare", *GOOD, "--filters", "kalman", "--out", str(here)]) == status
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert untouched(here)


def test_the_data_are_not_replaced_by_the_estimates(here, capsys):
    (here / "mine.npz").write_bytes(Path("good.npz").read_bytes())
    (here / "link.npz").symlink_to(here / "mine.npz")
    data = ("--data", str(here / "mine.npz"), *GOOD[2:])
    for out in ("mine.npz", "link.npz"):
        assert main(["filter", *data, "--filter", "kalman", "--out", str(here / out)]) == 2
        assert "is the file of the data; expected another one" in capsys.readouterr().err
    assert (here / "mine.npz").read_bytes() == Path("good.npz").read_bytes()


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_an_interrupted_import_is_one_line(seconds):
    run = subprocess.Popen(
        [sys.executable, "-m", "kfjax", "compare"], stderr=subprocess.PIPE, text=True
    )
    time.sleep(seconds)
    run.send_signal(signal.SIGINT)
    _, text = run.communicate()
    assert (run.returncode, text) == (130, f"{interrupts.TEXT}\n")


def test_in_a_process_of_its_own(here):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "kfjax", *arguments], capture_output=True, text=True, check=False
        )

    command = ("filter", *GOOD, "--filter", "kalman", "--no-compilation-cache")
    done = run(*command, "--out", str(here / "new" / "est.npz"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Wrote ")
    assert arrays_in(here / "new" / "est.npz")["mean"].shape == (10, 30, 2)


@pytest.mark.parametrize("command", ["compare", "filter"])
def test_help_tells_all(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("example", "FILE.py:NAME", "--x64", "unscented"))


def test_published_linear_set(here, shared_data):
    data, model = (
        shared_data / "kalmannet" / "lin2x2_v0_r20_T100.npz",
        BENCHMARKS / "kalmannet_linear.py",
    )
    arguments = (
        "--data",
        str(data),
        "--model",
        f"{model}:LIN2X2_V0_R20",
        "--filters",
        "kalman",
        "--x64",
    )
    (table,) = compare(here, *arguments)["tables"]
    assert abs(table["rows"][0]["mse_db"]["value"] + 21.903) < 0.005
    assert table["settings"]["dtype"] == "float64"


def test_range_only_localisation(here, shared_data):
    arguments = (
        "--data",
        str(shared_data / "indoor_uwb"),
        "--model",
        f"{BENCHMARKS / 'indoor_uwb.py'}:model",
    )
    (table,) = compare(here, *arguments, "--components", "0,1", "--filters", "unscented")["tables"]
    assert table["rmse"]["unscented"]["value"] < 0.15  # metres, per axis
    assert table["rows"][0]["failed"] == 0


def test_a_terminal_that_knows_only_ascii_shows_signs_in_ascii():
    code = (
        "from kfjax._cli.output import make_console, print_anywhere;"
        " print_anywhere(); print('1 \\u00b1 2 \\u00b5s \\u263a'); make_console().print('\\u00b1')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        capture_output=True,
        check=True,
    ).stdout
    assert shown.split() == [b"1", b"+-", b"2", b"us", b"?", b"+-"]
