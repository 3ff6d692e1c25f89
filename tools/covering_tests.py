"""Tests that cover the modules which `mutate.py` changes."""

from mutants import ROOT, Mutant

# Tests that cover a module, by the start of its path; the first match counts.
CORE = "tests/core/"
RECORDS = "test_random_records_have_the_moments_of_their_joint_gaussian"
ORACLE = f"{CORE}test_joint_gaussian.py::{RECORDS}[varying]"
ALGEBRA = [f"{CORE}test_linalg.py", f"{CORE}test_products.py", f"{CORE}test_noise_free.py", ORACLE]
LATE = ["tests/filters/test_late_data.py", "tests/filters/test_late_ranges.py"]
COVERED_BY = {
    "kfjax/linalg/": ALGEBRA,
    "kfjax/_support/dense/": [*ALGEBRA, "tests/filters/test_square_roots.py"],
    "kfjax/moments/": [
        f"{CORE}test_noise_free.py", f"{CORE}test_identities.py", f"{CORE}test_oracles.py", ORACLE,
        f"{CORE}test_units.py", f"{CORE}test_missing.py", "tests/filters/test_square_roots.py",
    ],
    "kfjax/streaming.py": [
        f"{CORE}test_streaming.py", f"{CORE}test_stepper.py", f"{CORE}test_values.py",
        f"{CORE}test_user_functions.py", f"{CORE}test_errors.py",
    ],
    "kfjax/runner.py": [
        f"{CORE}test_streaming.py", f"{CORE}test_log_likelihood.py", f"{CORE}test_missing.py",
        f"{CORE}test_values.py", "tests/models/test_first.py", ORACLE, f"{CORE}test_errors.py",
    ],
    "kfjax/filters/particles/": [
        "tests/filters/test_resampling.py", "tests/filters/test_particles.py",
        "tests/filters/test_rao_blackwell.py", "tests/smoothers/test_backward_simulation.py",
        f"{CORE}test_errors.py",
    ],
    "kfjax/filters/ensembles/": ["tests/filters/test_ensembles.py"],
    "kfjax/filters/combinators/mixtures.py": ["tests/filters/test_imm.py"],
    "kfjax/filters/combinators/interacting_models.py": ["tests/filters/test_imm.py"],
    "kfjax/filters/combinators/robust.py": ["tests/filters/test_robust.py"],
    "kfjax/filters/combinators/constraints.py": ["tests/filters/test_constraints.py"],
    "kfjax/filters/combinators/inequalities.py": ["tests/filters/test_constraints.py"],
    "kfjax/filters/combinators/lags.py": ["tests/filters/test_fixed_lag.py"],
    "kfjax/filters/combinators/several_sensors.py": ["tests/filters/test_sequential.py"],
    "kfjax/filters/combinators/late_data.py": LATE,
    "kfjax/filters/combinators/histories.py": LATE,
    "kfjax/filters/combinators/refiltering.py": LATE,
    "kfjax/filters/combinators/flat_rows.py": [*LATE, "tests/filters/test_sequential.py"],
    "kfjax/filters/combinators/noise_adaptation.py": [
        "tests/filters/test_robust.py", "tests/filters/test_combinators.py",
        "tests/models/test_noise_in_state.py",
    ],
    "kfjax/filters/combinators/": [
        "tests/filters/test_combinators.py", "tests/filters/test_robust.py",
        "tests/filters/test_imm.py", "tests/filters/test_sequential.py",
        "tests/models/test_noise_in_state.py",
    ],
    "kfjax/filters/diffuse": [
        "tests/structural/test_exact_diffuse.py", f"{CORE}test_errors.py",
    ],
    "kfjax/filters/starting.py": ["tests/models/test_first.py"],
    "kfjax/filters/noise_factors.py": [
        "tests/filters/test_robust.py", "tests/filters/test_ensembles.py",
        "tests/filters/test_particles.py",
    ],
    "kfjax/filters/clouds.py": [
        "tests/filters/test_particles.py", "tests/filters/test_ensembles.py",
        "tests/filters/test_rao_blackwell.py", f"{CORE}test_errors.py",
    ],
    "kfjax/filters/beliefs.py": [
        f"{CORE}test_oracles.py", f"{CORE}test_first_noise.py", "tests/models/test_first.py",
        "tests/filters/test_sequential.py", "tests/models/test_noise_in_state.py",
        f"{CORE}test_errors.py", f"{CORE}test_values.py", ORACLE,
    ],
    "kfjax/filters/checks.py": [f"{CORE}test_errors.py", f"{CORE}test_values.py"],
    "kfjax/filters/registry.py": [f"{CORE}test_errors.py", "tests/training/test_fit_many.py"],
    "kfjax/filters/probing.py": ["tests/learned/test_kalman_net.py"],
    "kfjax/filters/constant_gain_filter.py": ["tests/linear/test_steady_state.py"],
    "kfjax/filters/": [
        f"{CORE}test_noise_free.py", ORACLE, f"{CORE}test_identities.py", f"{CORE}test_missing.py",
        f"{CORE}test_units.py", "tests/filters/test_square_roots.py",
    ],
    "kfjax/smoothers/posterior_draws.py": ["tests/smoothers/test_posterior_sampling.py"],
    "kfjax/smoothers/backward_simulation.py": ["tests/smoothers/test_backward_simulation.py"],
    "kfjax/smoothers/iterated.py": ["tests/smoothers/test_parallel.py", f"{CORE}test_values.py"],
    "kfjax/smoothers/imputation.py": [
        f"{CORE}test_oracles.py", ORACLE, "tests/models/test_noise_in_state.py",
        f"{CORE}test_first_noise.py", f"{CORE}test_errors.py",
    ],
    "kfjax/smoothers/": [
        "tests/smoothers/test_smoothers_family.py", "tests/smoothers/test_parallel.py", ORACLE,
        "tests/models/test_first.py", f"{CORE}test_errors.py", f"{CORE}test_values.py",
    ],
    "kfjax/models/observing.py": [
        f"{CORE}test_noise_free.py", f"{CORE}test_missing.py", f"{CORE}test_values.py",
        f"{CORE}test_laws.py::test_info_of_unobserved_channels_is_zero",
        f"{CORE}test_laws.py::test_an_unobserved_update_changes_no_bit",
        f"{CORE}test_streaming.py",
    ],
    "kfjax/models/discretisation.py": [
        "tests/models/test_models.py", "tests/systems/test_systems.py", f"{CORE}test_errors.py",
        "tests/data/test_times.py",
    ],
    "kfjax/models/spaces.py": [
        "tests/models/test_models.py", f"{CORE}test_identities.py", f"{CORE}test_errors.py",
        "tests/evaluation/test_comparison.py",
    ],
    "kfjax/models/averages.py": [
        "tests/evaluation/test_metrics.py", "tests/filters/test_particles.py",
        "tests/filters/test_imm.py", "tests/training/test_curved_states.py",
    ],
    "kfjax/models/sensors.py": ["tests/filters/test_sequential.py", f"{CORE}test_values.py"],
    "kfjax/models/lens.py": [
        "tests/models/test_models.py", "tests/filters/test_sequential.py", f"{CORE}test_errors.py",
    ],
    "kfjax/models/calling.py": [f"{CORE}test_user_functions.py", f"{CORE}test_errors.py"],
    "kfjax/models/": [
        "tests/models/test_models.py", "tests/models/test_augmentation.py",
        "tests/models/test_priors.py", f"{CORE}test_missing.py", f"{CORE}test_errors.py",
        f"{CORE}test_values.py", "tests/models/test_noise_in_state.py",
        "tests/models/test_first.py", f"{CORE}test_first_noise.py", f"{CORE}test_user_functions.py",
        f"{CORE}test_singular.py",
    ],
    "kfjax/evaluation/metrics.py": ["tests/evaluation/test_metrics.py"],
    "kfjax/evaluation/normalised_errors.py": ["tests/evaluation/test_metrics.py"],
    "kfjax/evaluation/errors.py": ["tests/evaluation/test_metrics.py"],
    "kfjax/evaluation/": [
        "tests/evaluation/test_metrics.py", "tests/evaluation/test_monte_carlo.py",
        "tests/evaluation/test_comparison.py",
    ],
}  # fmt: skip
# What computes beliefs and their errors.
NUMERICAL = [
    "kfjax/linalg/", "kfjax/_support/dense/", "kfjax/moments/", "kfjax/runner.py",
    "kfjax/streaming.py", "kfjax/filters/", "kfjax/smoothers/", "kfjax/models/",
    "evaluation/metrics", "evaluation/errors", "evaluation/normalised_errors",
]  # fmt: skip


def selection(path: str) -> list[str]:
    """Return the tests that cover a module."""
    return next(tests for start, tests in COVERED_BY.items() if path.startswith(start))


def modules(parts: list[str]) -> list[str]:
    """Return the covered modules whose paths contain one of these texts, or all modules."""
    paths = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "kfjax").rglob("*.py"))
    covered = [path for path in paths if path.startswith(tuple(COVERED_BY))]
    return [path for path in covered if not parts or any(part in path for part in parts)]


def files_of_tests(mutants: list[Mutant]) -> list[str]:
    """Return the files of all tests that cover some of the mutants."""
    names = {name for path in {mutant.path for mutant in mutants} for name in selection(path)}
    return sorted({name.partition("::")[0] for name in names})
