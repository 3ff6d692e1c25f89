"""Code on pages, in notebooks and in docstrings agrees with kfjax: names exist, and calls bind."""

import pytest
from support.page_code import problems
from support.pages import (
    ROOT,
    Page,
    changelog_page,
    markdown_page,
    markdown_pieces,
    module_page,
    notebook_page,
)

MARKDOWN = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").rglob("RESULTS.md")),
    *sorted((ROOT / "benchmarks").rglob("studies/*.md")),
    ROOT / "notebooks" / "README.md",
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
MODULES = [p for p in sorted((ROOT / "kfjax").rglob("*.py")) if p.stem != "__main__"]


def name_of(path):
    return str(path.relative_to(ROOT))


def page(text, name="docs/page.md"):
    return Page(name, list(markdown_pieces(text)), frozenset())


@pytest.mark.parametrize("path", MARKDOWN, ids=name_of)
def test_pages(path):
    assert not problems(markdown_page(path))


def test_the_changes_that_are_not_released():
    assert not problems(changelog_page(ROOT / "CHANGELOG.md"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebooks(path):
    assert not problems(notebook_page(path))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_docstrings(path):
    assert not problems(module_page(path))


WRONG = {
    "`kf.evaluation.expected_error(model, truth=...)`": "multiple values for argument 'truth'",
    "`F, Q = kf.van_loan(A, W, dt)`": "it returns 3 values, F, Q, B; 2 names take them",
    "```python\nx, ys, us = kf.simulate(key, model, 9)\n```": "it returns 2 values",
    "```python\na, b, c = kf.run(kf.kalman(), model, ys)\n```": "2 values, final, outputs; 3 names",
    "`kf.learned.recursive_kalman_net(gain=gain, noise=noise)`": "unexpected keyword argument",
    "`kf.no_such_filter()`": "kfjax has no public no_such_filter",
    "`kf.training.no_such_loss`": "kfjax.training has no public no_such_loss",
    "`kf.gated()`": "missing a required argument: 'filter'",
    "`kf.kalman(3)`": "too many positional arguments",
    "`kf.run(kf.kalman(), model, ys, mask)`": "too many positional arguments",
    "`kf.run(..., initial=first)`": "unexpected keyword argument 'initial'",
    "`emit=kf.leading()`": "missing a required argument: 'n'",
    "`kf.gated(kf.extended(order=2), 0.9)`": "unexpected keyword argument 'order'",
    "`smooth(filter, model)`": "missing a required argument: 'estimate'",
    "`kf.Gaussian(mean)`": "missing a required argument: 'cov'",
    "`kf.Gaussian.median`": "Gaussian has no public median",
    "`kf._support.naming`": "kfjax has no public _support",
    "`kf.run(model, ys`": "not valid Python",
    "`NoSuchClass`": "no module of kfjax has this name",
    "`kfjax compare --no-such-option`": "has no option --no-such-option",
    "`kfjax guess`": "`kfjax guess` is not a command",
    "`kfjax/no_such_module.py`": "there is no such file",
    "`pytest tests/no_such_test.py -k gated`": "there is no tests/no_such_test.py",
    "``kf.huber(threshold=1, tail=2)``": "unexpected keyword argument 'tail'",
    "`kf.unscented(\nalpha, beta, kappa, lambda_)`": "too many positional arguments",
    "```python\nstate = kf.kalman().init(model)\nkf.step(kf.kalman())\n```": "docs/page.md:3",
    "```py\nfrom kfjax import plotting\nplotting.plot_it(xs)\n```": "no public plot_it",
    "```py\nkf.particle(members=3)\n```": "unexpected keyword argument 'members'",
    "```bash\n.venv/bin/kfjax train --no-such-option\n```": "no option --no-such-option",
}
RIGHT = [
    "`y = h(x)`",
    "`x_{t-1} -> x_t`",
    "`est.mean [T, n]`",
    "`filter._replace(update=...)`",
    "`kf.angles(2).difference(a, b)`",
    "`F, Q, B = kf.van_loan(A, W, dt)`",
    "`F, *others = kf.van_loan(A, W, dt)`",
    "```python\nstate, info = kf.step(kf.kalman(), model, state, y)\n```",
    "`observed=~jnp.isnan(ys)`",
    "`kf.run(...)`",
    "`kf.run(filter, params, ys, observed=mask).outputs`",
    "`kf.rao_blackwellised(linear, 1000)`",
    "`kf.Dataset(length=lengths)`",
    "`kf.Gaussian(mean [n], cov [n, n])`",
    "`kf.Gaussian.mean`",
    "`kf.filters.combinators`",
    "`kf.imm(filters, *options)`",
    "`kfjax compare --system pendulum --quick`",
    "`kfjax/base.py`",
    "`run` and `NamedTuple`",
    "```py\nfrom filterpy.kalman import KalmanFilter\nk = KalmanFilter(dim_x=2, dim_z=1)\n```",
    "```python\nkf = 3\n```",
]


@pytest.mark.parametrize("text", WRONG)
def test_wrong_code_is_found(text):
    found = problems(page(text))
    assert any(WRONG[text] in problem for problem in found), found


@pytest.mark.parametrize("text", RIGHT)
def test_prose_and_right_code_pass(text):
    assert not problems(page(text))


def test_a_page_may_use_the_names_of_its_subject():
    text = "`no_such_call(x)` and `corrected_gain(n=2)`"
    assert problems(page(text, "docs/methods/learned.md")) == []
    wrong = "`corrected_gain(size=2)`"
    assert problems(page(wrong, "docs/methods/learned.md"))
    assert not problems(page(wrong, "docs/methods/smoothers.md"))


def test_names_that_a_page_defines_are_its_own():
    text = "```python\ndef smooth(window):\n    return window\n```\nThen `smooth(window)`."
    assert not problems(markdown_page(ROOT / "README.md", text))
