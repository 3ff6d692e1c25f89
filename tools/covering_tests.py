"""Tests that cover the modules which `mutate.py` changes."""

from mutants import ROOT, Mutant

# Tests that cover a module, by the start of its path; the first match counts.
CORE = "tests/core/"
RECORDS = "test_random_records_have_the_moments_of_their_joint_gaussian"
ORACLE = f"{CORE}test_joint_gaussian.py::{RECORDS}[varying]"
ALGEBRA = [f"{CORE}test_linalg.py", f"{CORE}test_products.py", f"{CORE}test_noise_free.py", ORACLE]
LATE = ["tests/filters/test_late_data.py", "tests/filters/test_late_ranges.py"]
COVERED_BY = {
    "kfjax/linalg/sparse.py": ["tests/structural/test_sparse_products.py"],
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
    "kfjax/filters/ensembles/": [
        "tests/filters/test_ensembles.py", f"{CORE}test_noise_free.py", f"{CORE}test_missing.py",
        f"{CORE}test_errors.py",
    ],
    "kfjax/filters/combinators/mixtures.py": [
        "tests/filters/test_imm.py", "tests/regimes/test_switching.py", f"{CORE}test_noise_free.py",
    ],
    "kfjax/filters/combinators/interacting_models.py": [
        "tests/filters/test_imm.py", "tests/regimes/test_switching.py", f"{CORE}test_noise_free.py",
        "tests/models/test_noise_in_state.py", f"{CORE}test_errors.py",
    ],
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
    "kfjax/filters/hidden_regimes.py": ["tests/regimes/test_hidden_markov.py"],
    "kfjax/filters/backward_kernels.py": [
        "tests/smoothers/test_smoothers_family.py", "tests/structural/test_exact_diffuse.py",
        "tests/filters/test_fixed_lag.py", f"{CORE}test_oracles.py", ORACLE,
    ],
    "kfjax/filters/": [
        f"{CORE}test_noise_free.py", ORACLE, f"{CORE}test_identities.py", f"{CORE}test_missing.py",
        f"{CORE}test_units.py", "tests/filters/test_square_roots.py",
    ],
    "kfjax/smoothers/hidden_regimes.py": [
        "tests/regimes/test_hidden_markov.py", "tests/regimes/test_regime_em.py",
    ],
    "kfjax/smoothers/switching.py": ["tests/regimes/test_switching.py"],
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
    "kfjax/models/hidden_markov.py": ["tests/regimes/test_hidden_markov.py"],
    "kfjax/models/emissions.py": [
        "tests/regimes/test_hidden_markov.py", "tests/regimes/test_regime_em.py",
    ],
    "kfjax/models/chains.py": [
        "tests/regimes/test_hidden_markov.py", "tests/filters/test_imm.py",
        f"{CORE}test_errors.py", f"{CORE}test_values.py",
    ],
    "kfjax/models/sparse.py": ["tests/structural/test_sparse_products.py"],
    "kfjax/models/sensors.py": [
        "tests/filters/test_sequential.py", "tests/filters/test_combinators.py",
        f"{CORE}test_values.py",
    ],
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
# Tests of these that take a second and detect most changes of a module. They run first.
DIFFUSE, METRICS = "tests/structural/test_exact_diffuse.py", "tests/evaluation/test_metrics.py"
FAMILY, PARALLEL = "tests/smoothers/test_smoothers_family.py", "tests/smoothers/test_parallel.py"
REGIMES, SPARSE = "tests/regimes/test_hidden_markov.py", "tests/structural/test_sparse_products.py"
MODELS, MARGINAL = "tests/models/test_models.py", "tests/filters/test_rao_blackwell.py"
FIRST = {
    "kfjax/_support/dense/": [
        f"{CORE}test_linalg.py::test_factor_solve_and_determinant",
        f"{CORE}test_linalg.py::test_products", f"{CORE}test_linalg.py::test_vmap_equals_a_loop",
    ],
    "kfjax/evaluation/": [
        f"{METRICS}::test_nees_and_coverage_against_numpy",
        f"{METRICS}::test_rounding_is_no_error_where_a_state_is_known_exactly",
        f"{METRICS}::test_mse_is_over_steps_and_known_dimensions",
    ],
    "kfjax/filters/backward_kernels.py": [
        f"{FAMILY}::test_rts_with_lag_one_covariances",
        f"{DIFFUSE}::test_values_of_kfas_and_statsmodels",
    ],
    "kfjax/filters/beliefs.py": [
        f"{CORE}test_oracles.py::test_beliefs_about_observations_condition_the_joint_gaussian",
        "tests/models/test_first.py::test_smoothing_a_run_that_began_with_an_update_by_hand",
    ],
    "kfjax/filters/combinators/": [
        "tests/filters/test_combinators.py::test_bad_input_is_a_readable_error",
    ],
    "kfjax/filters/combinators/composing.py": [
        "tests/filters/test_combinators.py::test_schmidt_against_numpy",
    ],
    "kfjax/filters/combinators/constraints.py": [
        "tests/filters/test_constraints.py::test_constrained_estimates_obey",
    ],
    "kfjax/filters/combinators/inequalities.py": [
        "tests/filters/test_constraints.py::test_nearest_is_the_solution_of_the_quadratic_programme",
        "tests/filters/test_constraints.py::test_truncated_has_the_moments_of_the_truncated_density",
    ],
    "kfjax/filters/combinators/interacting_models.py": [
        "tests/filters/test_imm.py::test_two_members_against_numpy",
        "tests/filters/test_imm.py::test_recentre_writes_a_common_belief_into_every_member",
    ],
    "kfjax/filters/combinators/lags.py": [
        "tests/filters/test_fixed_lag.py::test_it_is_the_smoother_of_the_data_so_far",
        "tests/filters/test_fixed_lag.py::test_a_written_belief_moves_the_states_before_along",
    ],
    "kfjax/filters/combinators/mixtures.py": [
        "tests/filters/test_imm.py::test_two_members_against_numpy",
    ],
    "kfjax/filters/combinators/resets.py": [
        "tests/filters/test_combinators.py::test_fallback_starts_anew_from_what_is_stated",
        "tests/filters/test_combinators.py::test_fallback_resets_a_lost_filter_after_some_patience",
    ],
    "kfjax/filters/combinators/several_sensors.py": [
        "tests/filters/test_sequential.py::test_sequential_equals_the_joint_update",
    ],
    "kfjax/filters/constant_gain_filter.py": [
        "tests/linear/test_steady_state.py::test_a_constant_gain_moves_a_state_on_its_space",
        "tests/linear/test_steady_state.py::test_constant_gain_reaches_the_kalman_filter",
    ],
    "kfjax/filters/diffuse_beliefs.py": [
        f"{DIFFUSE}::test_two_sensors_of_one_level_share_its_start",
        f"{DIFFUSE}::test_values_of_kfas_and_statsmodels",
    ],
    "kfjax/filters/diffuse_start.py": [
        f"{DIFFUSE}::test_what_is_never_observed_stays_diffuse", f"{DIFFUSE}::test_misuse_raises",
    ],
    "kfjax/filters/ensembles/ensemble_filter.py": [
        "tests/filters/test_ensembles.py::test_the_transform_of_an_exact_ensemble_is_the_kalman_filter",
        "tests/filters/test_ensembles.py::test_inflation_is_that_of_the_predicted_anomalies",
        "tests/filters/test_ensembles.py::test_bad_arguments_are_explained",
    ],
    "kfjax/filters/gaussian.py": [
        f"{CORE}test_identities.py::test_nonlinear_filters_are_the_kalman_filter_on_a_linear_model",
    ],
    "kfjax/filters/hidden_regimes.py": [
        f"{REGIMES}::test_all_paths_say_the_same",
        f"{REGIMES}::test_draws_of_an_emission_have_its_moments",
    ],
    "kfjax/filters/particles/bootstrap.py": [
        "tests/filters/test_particles.py::test_the_key_decides_and_nothing_else",
    ],
    "kfjax/filters/particles/proposals.py": [
        "tests/filters/test_particles.py::test_any_observation_density_agrees_with_sums_over_a_grid",
    ],
    "kfjax/filters/particles/rao_blackwell.py": [
        f"{MARGINAL}::test_it_is_the_kalman_filter_of_the_linear_part_where_the_rest_is_known",
        f"{MARGINAL}::test_recentred_particles_have_the_moments_asked_for",
    ],
    "kfjax/filters/particles/resampling.py": [
        "tests/filters/test_resampling.py::test_particles_go_on_as_often_as_the_scheme_says",
        "tests/filters/test_resampling.py::test_effective_sample_size_and_when_to_resample",
    ],
    "kfjax/filters/square_root_form.py": [
        "tests/filters/test_square_roots.py::test_factor_is_lower_triangular_with_no_negative_diagonal",
        "tests/filters/test_square_roots.py::test_same_results_as_the_covariance_form",
    ],
    "kfjax/linalg/": [
        f"{CORE}test_linalg.py::test_products",
        f"{CORE}test_linalg.py::test_factor_solve_and_determinant",
    ],
    "kfjax/linalg/sparse.py": [
        f"{SPARSE}::test_products_are_those_of_the_full_matrix",
        f"{SPARSE}::test_patterns_are_those_of_the_matrices",
    ],
    "kfjax/models/augment": [
        "tests/models/test_augmentation.py::test_noise_that_enters_linearly_gives_the_results_of_added_noise",
        "tests/models/test_augmentation.py::test_correlated_noise_gives_the_results_of_the_textbook",
        "tests/models/test_augmentation.py::test_errors",
    ],
    "kfjax/models/averages.py": [
        f"{METRICS}::test_errors_on_curved_spaces_use_the_difference_of_the_model",
        "tests/filters/test_particles.py::test_angles_are_averaged_across_the_cut",
    ],
    "kfjax/models/discretisation.py": [
        f"{MODELS}::test_van_loan_is_the_integral",
        f"{MODELS}::test_time_steps_subtract_before_they_round",
    ],
    "kfjax/models/emissions.py": [
        f"{REGIMES}::test_all_paths_say_the_same",
        f"{REGIMES}::test_draws_of_an_emission_have_its_moments",
    ],
    "kfjax/models/functions.py": [f"{MODELS}::test_linear_functions_of_inputs"],
    "kfjax/models/hidden_markov.py": [
        f"{REGIMES}::test_what_is_wrong_is_said", f"{REGIMES}::test_all_paths_say_the_same",
    ],
    "kfjax/models/inputs.py": [
        f"{CORE}test_user_functions.py::test_inputs_that_nothing_reads_are_spoken_of",
        f"{CORE}test_user_functions.py::test_inputs_that_only_the_filter_reads_are_not",
    ],
    "kfjax/models/observing.py": [
        f"{CORE}test_missing.py::test_an_update_with_a_missing_channel_is_the_update_of_the_other",
        f"{CORE}test_missing.py::test_of_observations_that_wrap_the_unobserved_channels_do_not_count",
    ],
    "kfjax/models/priors.py": [
        "tests/models/test_priors.py::test_the_default_fits_the_nile_in_float32",
        "tests/models/test_priors.py::test_the_default_needs_observations_that_tell_of_the_components",
    ],
    "kfjax/models/records.py": [
        f"{CORE}test_missing.py::test_length_equals_truncation_whatever_stands_after_the_end",
        f"{CORE}test_missing.py::test_lengths_in_a_batch_and_a_length_of_zero",
    ],
    "kfjax/models/sensors.py": [
        "tests/filters/test_sequential.py::test_sequential_equals_the_joint_update",
        "tests/filters/test_combinators.py::test_bad_input_is_a_readable_error",
    ],
    "kfjax/models/sparse.py": [f"{SPARSE}::test_a_sum_filters_like_its_full_matrices"],
    "kfjax/moments/": [
        f"{CORE}test_identities.py::test_cubature_is_unscented_with_a_centre_of_weight_zero",
        f"{CORE}test_identities.py::test_the_residual_is_the_covariance_of_what_a_gain_leaves",
    ],
    "kfjax/moments/rounding.py": [
        f"{CORE}test_noise_free.py::test_a_constant_is_known_after_one_reading",
    ],
    "kfjax/runner.py": [
        f"{CORE}test_log_likelihood.py::test_it_is_the_sum_over_the_steps_of_a_run",
    ],
    "kfjax/smoothers/backward_simulation.py": [
        "tests/smoothers/test_backward_simulation.py::test_bad_arguments_are_explained",
    ],
    "kfjax/smoothers/blocks.py": [f"{FAMILY}::test_two_filters", f"{PARALLEL}::test_errors"],
    "kfjax/smoothers/filter_elements.py": [
        f"{PARALLEL}::test_noise_free_channels_are_conditioned_on",
        f"{PARALLEL}::test_linear_filter_and_smoother_equal_the_sequential_ones",
    ],
    "kfjax/smoothers/hidden_regimes.py": [f"{REGIMES}::test_all_paths_say_the_same"],
    "kfjax/smoothers/imputation.py": [
        f"{CORE}test_oracles.py::test_the_smoother_imputation_and_forecast_condition_the_joint_gaussian",
    ],
    "kfjax/smoothers/iterated.py": [
        f"{PARALLEL}::test_iterated_smoother_finds_the_most_probable_trajectory",
    ],
    "kfjax/smoothers/parallel.py": [
        f"{PARALLEL}::test_linear_filter_and_smoother_equal_the_sequential_ones",
        f"{FAMILY}::test_parallel_smoother_has_lag_one_covariances",
    ],
    "kfjax/smoothers/posterior_draws.py": [
        "tests/smoothers/test_posterior_sampling.py::test_without_noise_trajectories_follow_the_model",
        "tests/smoothers/test_posterior_sampling.py::test_a_length_is_sampled_as_the_truncated_record",
    ],
    "kfjax/smoothers/switching.py": [
        "tests/regimes/test_switching.py::test_members_alike_are_smoothed_like_one",
    ],
}  # fmt: skip
RUN_FIRST = {test for tests in FIRST.values() for test in tests}
# What computes beliefs and their errors.
NUMERICAL = [
    "kfjax/linalg/", "kfjax/_support/dense/", "kfjax/moments/", "kfjax/runner.py",
    "kfjax/streaming.py", "kfjax/filters/", "kfjax/smoothers/", "kfjax/models/",
    "evaluation/metrics", "evaluation/errors", "evaluation/normalised_errors",
]  # fmt: skip


def first_tests(path: str) -> list[str]:
    """Return tests that detect most changes of a module; those of the longest path come first."""
    starts = sorted(filter(path.startswith, FIRST), key=len, reverse=True)
    return [test for start in starts for test in FIRST[start]]


def selection(path: str) -> list[str]:
    """Return the tests that cover a module, those first that run first."""
    covering = next(tests for start, tests in COVERED_BY.items() if path.startswith(start))
    return [*first_tests(path), *covering]


def modules(parts: list[str]) -> list[str]:
    """Return the covered modules whose paths contain one of these texts, or all modules."""
    paths = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "kfjax").rglob("*.py"))
    covered = [path for path in paths if path.startswith(tuple(COVERED_BY))]
    return [path for path in covered if not parts or any(part in path for part in parts)]


def files_of_tests(mutants: list[Mutant]) -> list[str]:
    """Return the files of all tests that cover some of the mutants."""
    names = {name for path in {mutant.path for mutant in mutants} for name in selection(path)}
    return sorted({name.partition("::")[0] for name in names})
