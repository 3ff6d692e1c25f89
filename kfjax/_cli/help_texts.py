"""Texts of `--help` for the commands."""

from typing import NamedTuple

__all__: list[str] = []


class Help(NamedTuple):
    """The texts of `--help` for a command."""

    summary: str
    description: str
    examples: str


COMPARE = Help(
    "compare filters",
    """\
Compare filters on the same trajectories: their accuracy, consistency and speed.

Without --data, trajectories are simulated: from a Lorenz attractor with correct and incorrect
models, from a system by name (--system), or from a model of your own (--model alone).

DATA is
  a table          csv, tsv or parquet, one row per step; --ys, --time and so on say what its
                   columns mean. Times of any usual form become the input dt, in seconds; an
                   empty cell is a missing observation.
  an npz file      obs [N, T, m] (NaN where missing), and if you have them state [N, T, n] (NaN
                   where unknown), inputs [N, T, ...] (or several arrays inputs_NAME, which make a
                   dict), length [N], initial [N, n]; one trajectory may leave out N. Or parts:
                   train_obs, val_obs, test_obs, train_state and so on, of which the test part is
                   reported.
  a folder         of the Labyrinth data set, recognised by its Indoor_UWB_Input.txt.
MODEL is a kfjax.StateSpaceModel in a Python file, or a function without arguments that returns one.

--tune finds factors on Q and R on the training part, and chooses among them on the validation part.
A file without parts is split 60 : 20 : 20, by trajectory, or in time if it holds only one or two.

--learned trains filters quickly, on the training part or on as many simulated trajectories as are
compared, and chooses on the validation part; better ones come from `kfjax train`. --load adds
these; where they were trained on a part of DATA, the test part is reported.""",
    """\
examples:
  kfjax compare
  kfjax compare --system pendulum --filters extended,unscented
  kfjax compare --quick --learned
  kfjax compare --data track.csv --time stamp --ys east,north --model mine.py:tracker
  kfjax compare --data walks.parquet --time utc --gps lat,lon --ys east,north --by walk \\
    --model mine.py:tracker
  kfjax compare --data mine.npz --model mine.py:model --tune diagonal
  kfjax compare --data ../shared/data/indoor_uwb --components 0,1 \\
    --model benchmarks/models/indoor_uwb.py:model""",
)

FILTER = Help(
    "write a filter's estimates",
    """\
Run one filter over data and write its estimates. DATA and MODEL are as in `kfjax compare --help`.

The file written is an npz file, or a csv or parquet file with a row per step: times as in
the data, x1, x1_std and so on, and with --smooth x1_smoothed, x1_smoothed_std. The npz file has
  mean [N, T, n], cov [N, T, n, n]                      x_t given y_1..y_t
  log_likelihood [N, T]                                 log p(y_t | y_1..y_t-1)
  smoothed_mean [N, T, n], smoothed_cov [N, T, n, n]    x_t given y_1..y_T, with --smooth
  length [N]                                            if the data have it; later entries repeat
                                                        the last estimate
The states are called x1, x2 and so on, unless the model has names for them.""",
    """\
examples:
  kfjax filter --data track.csv --time stamp --ys east,north --model mine.py:tracker \\
    --filter kalman --smooth --out estimates.csv --plot estimates.pdf
  kfjax filter --data mine.npz --model mine.py:model --filter unscented --smooth --out est.npz""",
)

FORECAST = Help(
    "fit one long series and forecast it",
    """\
Fit a model to one long series, check its residuals, and forecast with intervals. DATA and MODEL are
as in `kfjax compare --help`; several series (--by) are fitted together, and each is forecast.

--fit finds the maximum of the likelihood and prints a summary with standard errors. It fits the
arguments of MODEL, if that is a function whose arguments have numbers as defaults,
    def level(level_std=30.0, irregular_std=100.0): ...
(those whose names end in _std, _var or _density are positive), or else standard deviations in Q and
R. --fit A,B fits the arguments A and B alone; --fit diagonal, full or scalar fits Q and R.

--model auto, the default, fits a few sums of structural components (level, trend, damped trend,
each with a season if there is one), chooses one by AIC (or as --choose says), and prints a table
of them. The season follows from the spacing of the times (months, quarters, weeks, days or hours),
or from --season.

The forecasts are at the times that follow those of the data (months, business days, equal steps),
or at those of rows at the end without observations, which may hold future inputs. A picture and the
results as JSON are written beside the table, with the endings .png and .json.""",
    """\
examples:
  kfjax forecast sales.csv --time month --ys sales
  kfjax forecast --data nile.csv --time year --ys volume --model nile.py:level --fit --steps 30
  kfjax forecast --data nile.csv --time year --ys volume --model nile.py:level --holdout 20""",
)

TRAIN = Help(
    "train a learned filter",
    """\
Train a learned filter on the training part of the data, and choose its parameters on the validation
part. DATA and MODEL are as in `kfjax compare --help`; a file without parts is split as there. The
test part is not used.

--learn gain trains a network. The others keep a classical filter and learn its model: noise tunes Q
and R; f and h add a polynomial to that function, fitted by least squares to true states (of degree
1 it is the best linear map), and then tune Q and R. Where f or h of the model is wrong, try these
first.

The folder written has training.json (what was trained, and its error on the validation part beside
those of the extended Kalman filter, untuned and tuned), the parameters, and for a network
history.png, the tuned filter, and checkpoints: an interrupted training resumes with the same
command. `kfjax compare --load` shows everything in the folder, `kfjax filter --load` runs what was
trained.""",
    """\
examples:
  kfjax train --data mine.npz --model mine.py:model --filter kalman_net --out runs/kalman_net
  kfjax train --data mine.npz --model mine.py:model --learn f --out runs/learned_f
  kfjax compare --data mine.npz --model mine.py:model --load runs/kalman_net""",
)

DISTIL = Help(
    "learn a filter from its recorded outputs",
    """\
Train a sequence model (an LSTM) on the recorded inputs and outputs of a filter, and diagnose what
limits it. No model of the system is needed.

DATA is a csv, parquet or npz file: --ys are the readings, --us further inputs, and --targets the
outputs of the filter in the same row, empty where they are not known. --by tells several records
apart. 60 % of the records are trained on, 20 % choose the parameters, and the last 20 % are
diagnosed (one or two records are cut in time).

The errors are printed in standard deviations of the targets, beside those of a constant and of
linear maps fitted by least squares. Sentences say what follows: whether the training had ended,
whether the test leaves the range of the training, what memory the targets need, and what to change.
--predictions diagnoses the predictions of your own network instead.

The folder written has training.json, diagnosis.txt, history.png, the parameters, and checkpoints:
an interrupted training resumes with the same command. `kfjax filter --load FOLDER`, without
--model, runs the network on other data.""",
    """\
examples:
  kfjax distil --data recorded.csv --by drive --ys gyro,range --targets heading,speed \\
    --out runs/lstm
  kfjax filter --data new.csv --ys gyro,range --by drive --load runs/lstm --out estimates.csv
  kfjax distil --data keras.csv --by drive --ys gyro,range --targets heading,speed \\
    --predictions net_heading,net_speed --window-seen 10 --out runs/keras""",
)

BENCH = Help(
    "time kfjax on its workloads",
    """\
Time kfjax on its own workloads: filters, smoothers, particles, networks and a training step, as a
user would run them.

The process stays on one core, and all workloads are timed in turn, so that other load on the
machine affects all of them alike. `python -m benchmarks.speed` in a checkout times them beside
other libraries.""",
    """\
examples:
  kfjax bench --quick
  kfjax bench --workload W2,W3 --x64 --out bench.json""",
)
