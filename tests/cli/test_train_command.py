"""`kfjax train`, and the other commands on its folder."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from support.files import arrays_in

import kfjax as kf
from kfjax._cli import classical, recipes
from kfjax._cli import compare as commands
from kfjax._cli import train as training_command
from kfjax._cli import trained as trained_folder
from kfjax._cli.parser import main
from kfjax._cli.trained import load_both, load_trained
from kfjax._support.files import locked
from kfjax.data import read_parts, run_trajectory

pytestmark = pytest.mark.slow

MODELS = """
import kfjax as kf

model = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
precise = model.replace(R=model.R / 4)
lorenz = kf.systems.lorenz()


def network(n, m):
    return kf.learned.kalman_net(kf.learned.Architecture1(n, m), ("F2",))


def nothing(n, m):
    return n
"""
DATA = ("--data", "data.npz", "--model", "models.py:model")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("train")
    (place / "models.py").write_text(MODELS)
    truth = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
    keys = jax.random.split(jax.random.key(0), 15)
    xs, ys = jax.vmap(lambda key: kf.simulate(key, truth, 40))(keys)
    np.savez(place / "data.npz", obs=ys[:, :30], state=xs[:, :30])
    np.savez(place / "unlabelled.npz", obs=ys[:, :20])
    np.savez(place / "long.npz", obs=ys.reshape(-1, 1)[:500], state=xs.reshape(-1, 2)[:500])
    np.savez(place / "other.npz", obs=ys[:7, :30], state=xs[:7, :30])
    return place


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(commands, "_pictures", lambda *_: {"compare.png": PNG})


def train(out, *arguments, name="corrected_gain", status=0):
    assert main(["train", *arguments, "--filter", name, "--out", str(out)]) == status
    return json.loads((out / "training.json").read_text()) if status == 0 else None


@pytest.fixture(scope="module")
def trained(folder):
    """The folder of a training that was interrupted near its end, and then resumed."""
    out, patch = folder / "runs" / "corrected", pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setattr(training_command, "_picture", interrupt)
    train(out, *DATA, "--updates", "40", status=130)
    assert not (out / "training.json").exists()
    with pytest.raises(ValueError, match=r"a finished `kfjax train`. Finish it with the same"):
        load_trained(out, kf.systems.constant_velocity(), 1)
    patch.undo()
    patch.chdir(folder)
    train(out, *DATA, "--updates", "40")
    patch.undo()
    return out


def interrupt(*args):
    raise KeyboardInterrupt


def test_what_a_training_says_of_itself(trained, tmp_path):
    about = json.loads((trained / "training.json").read_text())
    assert (about["filter"], about["n"], about["m"], about["features"]) == (
        "corrected_gain",
        2,
        1,
        list(kf.learned.FEATURES),
    )
    assert list(about["validation_db"]) == ["extended", "extended, tuned", "corrected_gain"]
    plain, tuned, learned = about["validation_db"].values()
    assert tuned <= plain + 1e-6
    assert abs(learned - plain) < 1  # it starts at the extended Kalman filter
    assert about["history"]["update"][-1] == 40
    assert about["versions"].keys() >= {"kfjax", "jax", "flax"}
    assert (trained / "history.png").read_bytes().startswith(PNG)
    stored = b"".join(path.read_bytes() for path in trained.rglob("*") if path.is_file())
    assert b"pickle" not in stored


def test_a_finished_folder_is_not_asked_for_something_else(trained, capsys):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    for other in (
        ("--loss", "nll"),
        ("--learning-rate", "0.01"),
        ("--updates", "50"),
        ("--model", "models.py:precise"),
    ):
        train(trained, *DATA, "--updates", "40", *other, status=2)
        assert "holds checkpoints of another run, which differs in" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_a_folder_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "history.png").write_text("mine")
    train(tmp_path, *DATA, "--updates", "40", status=2)
    assert "history.png in it would be replaced" in capsys.readouterr().err
    assert (tmp_path / "history.png").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_validation_figure_is_that_of_what_was_saved(trained):
    model = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
    parts = read_parts("data.npz")
    loaded = load_trained(trained, model, 1)
    means = jax.vmap(lambda one: run_trajectory(loaded.filter, loaded.params, one).outputs.mean)(
        parts.validation
    )
    error = 10 * np.log10(np.mean((means - parts.validation.xs) ** 2))
    said = json.loads((trained / "training.json").read_text())["validation_db"]["corrected_gain"]
    assert abs(error - said) < 1e-3
    with jax.enable_x64(True):
        double = load_trained(
            trained, kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2), 1
        ).params
    same = jax.tree.map(np.array_equal, double.network, loaded.params.network)
    assert all(jax.tree.leaves(same))
    assert {leaf.dtype for leaf in jax.tree.leaves(double.network)} == {np.dtype("float64")}


def test_compare_takes_a_trained_filter_and_hides_what_it_was_trained_on(trained, tmp_path, capsys):
    load = ("--filters", "extended", "--load", str(trained), "--out", str(tmp_path))
    for data, trajectories in (("data.npz", 3), ("other.npz", 7)):
        assert main(["compare", "--data", data, "--model", "models.py:model", *load]) == 0
        (table,) = json.loads((tmp_path / "compare.json").read_text())["tables"]
        names = ["extended", "corrected_gain (corrected)", "extended, tuned (corrected)"]
        assert [row["name"] for row in table["rows"]] == names
        assert table["settings"]["trajectories"] == trajectories
        assert table["rows"][1]["anees"] is not None
    assert "another design model" not in capsys.readouterr().err
    arguments = ("--data", "data.npz", "--model", "models.py:precise", *load)
    assert main(["compare", *arguments]) == 0
    assert (
        "trained with another design model than this one (models.py:model)"
        in capsys.readouterr().err
    )


def test_filter_takes_a_trained_filter(trained, tmp_path):
    out = tmp_path / "est.npz"
    assert main(["filter", *DATA, "--load", str(trained), "--out", str(out)]) == 0
    model, data = (
        kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2),
        arrays_in("data.npz"),
    )
    loaded = load_trained(trained, model, 1)
    mean = kf.run(loaded.filter, loaded.params, data["obs"][3]).outputs.mean
    np.testing.assert_allclose(arrays_in(out)["mean"][3], mean, rtol=1e-4, atol=1e-5)


def test_several_runs_without_true_states(tmp_path):
    arguments = (
        "--data",
        "unlabelled.npz",
        "--model",
        "models.py:model",
        "--seeds",
        "2",
        "--updates",
        "4",
    )
    about = train(tmp_path / "a", *arguments, name="kalman_net_1")
    assert about["loss"] == "innovation"
    assert len(about["runs"]["validation"]) == 2
    assert about["runs"]["spread"]["min"] == min(about["runs"]["validation"])
    assert about["validation_db"]["kalman_net_1"] is None
    assert np.isfinite(list(about["prediction_db"].values())).all()


def test_one_long_record_is_split_in_time_and_trained_in_windows(tmp_path, capsys):
    arguments = ("--data", "long.npz", "--model", "models.py:model", "--updates", "6", "--x64")
    about = train(tmp_path / "a", *arguments, name="recurrent")
    with jax.enable_x64(True):
        loaded = load_trained(
            tmp_path / "a", kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2), 1
        )
        assert loaded.params.constants["x"]["spread"].tolist() == about["constants"]["x"]["spread"]
    assert about["dtype"] == "float64"
    assert about["history"]["update"][-1] == 6
    assert "from step 301 on" in " ".join(capsys.readouterr().out.split())


def test_columns_of_a_table(tmp_path, capsys):
    data = arrays_in("data.npz")["obs"][:, :, 0]
    names = np.repeat(np.arange(len(data)), data.shape[1])
    rows = [f"{name},{y}" for name, y in zip(names, data.ravel(), strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["id,y", *rows]))
    model = ("--model", "models.py:model")
    arguments = ("--data", str(tmp_path / "a.csv"), "--ys", "y", "--by", "id", *model)
    about = train(tmp_path / "a", *arguments, "--updates", "4")
    assert about["columns"] == {"ys": ["y"], "by": "id"}
    load = ("--filters", "kalman", "--load", str(tmp_path / "a"), "--out", str(tmp_path))
    assert main(["compare", *arguments, *load]) == 0
    assert "test part 3 trajectories of 30 steps" in " ".join(capsys.readouterr().out.split())


def test_compare_trains_on_other_trajectories(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "QUICK", recipes.QUICK._replace(updates=4, reports=1))
    seen, train_learned = [], recipes.train_learned
    monkeypatch.setattr(recipes, "train_learned", lambda *a: seen.append(a[2]) or train_learned(*a))
    sizes = (
        "--system",
        "constant_velocity",
        "--trajectories",
        "4",
        "--steps",
        "12",
        "--filters",
        "kalman",
    )
    assert main(["compare", *sizes, "--learned", "kalman_net", "--out", str(tmp_path)]) == 0
    (table,) = json.loads((tmp_path / "compare.json").read_text())["tables"]
    assert [row["name"] for row in table["rows"]] == ["kalman", "kalman_net, learned"]
    assert (
        "trained (mse) by 4 updates on trajectories of 12 steps, from 4 training trajectories"
        in " ".join(capsys.readouterr().out.split())
    )
    (parts,) = seen
    shown = [part.ys.tobytes() for part in parts[:3]]
    assert len(set(shown)) == 3
    assert table["settings"]["trajectories"] == 4


def test_stages_share_the_updates():
    parts = read_parts("data.npz")
    losses = [kf.training.state_mse(kf.kalman()), kf.training.nll(kf.kalman())]
    longer = parts._replace(train=kf.data.whole_windows(parts.train, 50))
    for data, names, updates in (
        (parts, losses, (5, 5)),
        (longer, [losses[0], *losses], (4, 3, 3)),
    ):
        stages = recipes._stages(
            losses, data, kf.systems.constant_velocity(), recipes.Settings(updates=10)
        )
        assert [stage["loss"] for stage in stages] == names
        assert tuple(stage["updates"] for stage in stages) == updates


@pytest.mark.parametrize("learn", ["noise", "f"])
def test_the_model_of_a_classical_filter_is_learned(learn, tmp_path, monkeypatch):
    monkeypatch.setattr(classical, "DEGREES", (1,))
    out = tmp_path / "a"
    arguments = (*DATA, "--learn", learn, "--updates", "4", "--out", str(out))
    assert main(["train", *arguments]) == 0
    about = json.loads((out / "training.json").read_text())
    assert set(about["validation_db"]) == {"extended", "extended, learned"}
    load = ("--load", str(out))
    assert main(["compare", *DATA, "--filters", "kalman", *load, "--out", str(tmp_path)]) == 0
    (table,) = json.loads((tmp_path / "compare.json").read_text())["tables"]
    what = {"noise": "tuned", "f": "learned f"}[learn]
    assert [row["name"] for row in table["rows"]] == ["kalman", f"extended, {what} (a)"]
    assert main(["filter", *DATA, *load, "--smooth", "--out", str(tmp_path / "est.npz")]) == 0
    model = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
    parts = read_parts("data.npz")
    made = classical.learn_classical(
        "extended", learn, model, parts, objective="mse", updates=4, seed=0
    )
    ys = arrays_in("data.npz")["obs"][3]
    mean = kf.run(kf.extended(), made.model, ys).outputs.mean
    np.testing.assert_allclose(
        arrays_in(tmp_path / "est.npz")["mean"][3], mean, rtol=1e-4, atol=1e-5
    )
    if learn == "f":  # of degree 1 it is the linear map with the least squares
        best = kf.learned.fit_labelled(model, parts.train, learn=("f",), offsets=True)
        x = np.array([0.3, -0.2], np.float32)
        np.testing.assert_allclose(made.model.f(x, None), best.f(x, None), atol=1e-4)


def test_a_killed_command_goes_on_and_ends_with_the_same_bits(trained, folder, tmp_path):
    command = [sys.executable, "-m", "kfjax", "train", *DATA, "--filter", "corrected_gain"]
    command += ["--updates", "40", "--out", str(tmp_path / "a")]
    environment = os.environ | {"PYTHONPATH": str(Path(kf.__file__).parents[1])}
    options = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL}
    begun = tmp_path / "a" / "checkpoints"
    for delay in np.random.default_rng().uniform(0, 3, 2):
        run = subprocess.Popen(command, **options)
        while run.poll() is None and not any(begun.rglob("*.npz")):
            time.sleep(0.01)
        time.sleep(delay)
        run.kill()
        run.wait()
    subprocess.run(command, **options, check=True)
    for name in ("params.npz", "classical.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (trained / name).read_bytes()


def test_an_interruption_between_two_files_is_noticed(tmp_path, monkeypatch, capsys):
    """Parameters are never taken for those of another training."""
    options = ("--updates", "2", "--out", str(tmp_path))
    learn = ["train", *DATA, "--learn", "noise", *options]
    again = ["train", "--data", "other.npz", *DATA[2:], "--learn", "noise", *options]
    with monkeypatch.context() as patch:
        patch.setattr(trained_folder, "describe", interrupt)
        assert main(learn) == 130
    assert not (tmp_path / "training.json").exists()
    assert main(learn) == 0
    with monkeypatch.context() as patch:
        patch.setattr(trained_folder, "describe", interrupt)
        assert main(again) == 130
    with pytest.raises(ValueError, match=r"classical\.npz is damaged, or not of the training that"):
        load_trained(tmp_path, kf.systems.constant_velocity(), 1)
    assert main(again) == 0
    load_trained(tmp_path, kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2), 1)
    capsys.readouterr()
    with locked(tmp_path / "checkpoints", "another"):
        assert main(again) == 2
    assert "kfjax train: another process uses" in capsys.readouterr().err


def test_the_degree_is_chosen_on_validation(monkeypatch):
    """A wrong degree, here one that makes the filter diverge, is not kept."""
    model = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
    parts = read_parts("data.npz")
    values = iter([3.0, 1.0, 2.0])

    def tuned(chosen, params, *data, **options):
        value = next(values)
        return kf.training.Tuned(params, kf.training.Scales(1, 1), (0, 0), (9, value), 0, 0)

    monkeypatch.setattr(classical, "tune", tuned)
    made = classical.learn_classical("kalman", "f", model, parts, objective="mse")
    assert made.degree == 2


def test_the_tuned_filter_is_kept_beside_the_network(trained):
    about = json.loads((trained / "training.json").read_text())["classical"]
    assert about["validation"][1] <= about["validation"][0]
    model = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
    _, beside = load_both(trained, model, 1)
    scales = kf.training.Scales(*(np.asarray(about["scales"][name]) for name in "QR"))
    expected = kf.training.scale_noise(model, scales)
    np.testing.assert_allclose(beside.params.Q, expected.Q, rtol=1e-5)
    np.testing.assert_allclose(beside.params.R, expected.R, rtol=1e-5)


def test_patience_and_window_reach_the_trainer(tmp_path, monkeypatch):
    seen = []
    real = recipes.fit_stages
    monkeypatch.setattr(recipes, "fit_stages", lambda *a, **o: seen.append(o) or real(*a, **o))
    parts, model = read_parts("data.npz"), kf.systems.constant_velocity(dt=0.5)
    settings = recipes.Settings(updates=2, patience=3, window=10, reports=1)
    recipes.train_learned("kalman_net_1", model, parts, settings)
    assert (seen[0]["patience"], seen[0]["window"]) == (3, 10)
    assert recipes._window(parts, settings._replace(window=99)) is None


def test_a_network_of_ones_own(tmp_path):
    about = train(tmp_path / "a", *DATA, "--updates", "2", name="models.py:network")
    assert about["filter"] == "models.py:network"
    model = kf.systems.constant_velocity(dt=0.5, q_density=0.09, r_std=0.2)
    loaded = load_trained(tmp_path / "a", model, 1)
    ys = arrays_in("data.npz")["obs"][3]
    network = kf.learned.kalman_net(kf.learned.Architecture1(2, 1), ("F2",))
    mean = kf.run(network, loaded.params, ys).outputs.mean
    np.testing.assert_array_equal(kf.run(loaded.filter, loaded.params, ys).outputs.mean, mean)


BAD = {
    ("train", *DATA, "--filter", "models.py:nothing"): "returns int; expected a learned filter",
    ("train", *DATA, "--filter", "models.py:missing"): "has no function 'missing'",
    ("train", *DATA): "got no --filter; .* or --learn noise, f or h",
    ("train", *DATA, "--learn", "f", "--filter", "kalman_net"): "expected a classical filter",
    ("train", *DATA, "--learn", "f", "--loss", "nll"): "expected mse or innovation",
    ("train", "--data", "unlabelled.npz", *DATA[2:], "--learn", "h"): "no true states",
    (
        "train",
        *DATA,
        "--filter",
        "kalmannet",
    ): "unknown learned filter 'kalmannet'; .* Did you mean 'kalman_net'",
    ("train", *DATA, "--filter", "kalman_net", "--loss", "nll"): "kalman_net has no covariance",
    ("train", *DATA, "--filter", "kalman_net", "--split", "test"): "all parts are used",
    (
        "train",
        *DATA,
        "--filter",
        "kalman_net",
        "--learning-rate",
        "0",
    ): "expected a positive number",
    (
        "train",
        "--data",
        "data.npz",
        "--model",
        "models.py:lorenz",
        "--filter",
        "kalman_net",
    ): "with m = 3",
    (
        "train",
        "--data",
        "unlabelled.npz",
        *DATA[2:],
        "--filter",
        "kalman_net",
        "--loss",
        "mse",
    ): "has no true states",
    ("compare", *DATA, "--load", "nowhere"): "no training.json in it; .* Name its --out folder",
    (
        "compare",
        "--model",
        "models.py:lorenz",
        "--steps",
        "2",
        "--quick",
        "--load",
        "runs/corrected",
    ): "trained for n = 2 and m = 1, .* n = 3 and m",
    ("compare", *DATA, "--learned", "kalman"): "unknown learned filter 'kalman'",
    ("filter", *DATA, "--load", "nowhere", "--filter", "kalman"): "not allowed with argument",
    ("filter", *DATA, "--load", "runs/corrected", "--smooth"): "rule",
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_mistakes_are_one_line(arguments, trained, tmp_path, capsys):
    capsys.readouterr()
    out = tmp_path / "est.npz" if arguments[0] == "filter" else tmp_path / "out"
    assert main([*arguments, "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kfjax: error: ")
    assert re.search(BAD[arguments], line), line
    assert not out.exists() or not any(out.glob("*.json"))


def test_a_folder_belongs_to_one_training(trained, capsys):
    train(trained, *DATA, "--updates", "8", status=2)
    assert "holds checkpoints of another run" in capsys.readouterr().err
