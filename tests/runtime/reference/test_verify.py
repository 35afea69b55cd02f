"""``fa-diagnose verify``: levels, verdicts that can change, failures that show, and the published configurations."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fa_lint_runtime.cli import main
from fa_lint_runtime.reference import Recipe, gaussian_mixture
from fa_lint_runtime.verify import CLAIMS, LEVELS, Claim, Finding, Verification, chosen_claims, running, verify
from fa_lint_runtime.verify import networks as networks_module
from fa_lint_runtime.verify.claims import p1_norm_order, p2_cosine_clamp, p3_half_precision
from fa_lint_runtime.verify.lab import Lab
from fa_lint_runtime.verify.measurements import Measurements
from fa_lint_runtime.verify.networks import CONFIGURATIONS, Configuration, NetworkSpec, spec, train_networks
from fa_lint_runtime.verify.nulls import fresh_alignment, p_value


def test_every_pitfall_and_diagnostic_has_a_claim() -> None:
    keys = [claim.key for claim in CLAIMS]
    assert len(set(keys)) == len(keys)
    assert {"1", "2", "3", "4", "5", "6", "6.5", "a", "b", "c", "d"} <= set(keys)
    for lower, upper in pairwise(LEVELS):
        assert set(chosen_claims(lower)) <= set(chosen_claims(upper))
    assert not [s for claim in chosen_claims("instant") for s in claim.needs("instant")], "no training"
    assert chosen_claims("default") == CLAIMS


def test_levels_train_the_published_configurations() -> None:
    wanted = {level: {s for c in chosen_claims(level) for s in c.needs(level)} for level in LEVELS}
    assert len(wanted["quick"]) <= 8, "the budget of 25 s"
    assert {s.configuration for s in wanted["default"]} == {"V1", "V2", "V3", "V4", "V5", "V6"}
    seeds = {s.seed for s in wanted["default"] if (s.configuration, s.method, s.frozen) == ("V2", "dfa", None)}
    assert seeds == {42, 123, 456}
    assert {s.seed for s in wanted["full"] if s.configuration == "V4"} == {42, 123, 456}
    assert {s.configuration for s in wanted["full"]} == set(CONFIGURATIONS) - {"G12"}


def test_instant_level_measures_everything_and_restores_the_threads() -> None:
    threads = torch.get_num_threads()
    found = verify("instant")
    assert torch.get_num_threads() == threads
    assert found.complete
    verdicts = {o.claim.key: o.finding.verdict for o in found.outcomes}
    assert verdicts["1"] == "reproduces"
    assert verdicts["2"] == "reproduces in part", "the formula and the factor are stated wrongly"
    assert verdicts["3"] == "reproduces"
    assert sum(o.seconds for o in found.outcomes) < 60


def instant(module: object) -> Finding:
    finding: Finding = module.measure(None)  # type: ignore[attr-defined]
    return finding


def test_verdicts_follow_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch in which the defects were repaired would change the verdicts: nothing is written down."""
    with monkeypatch.context() as patched:
        patched.setattr(p1_norm_order, "_SPELLINGS", {"x.norm(-1)": lambda x: x.norm(dim=-1).sum()})
        assert instant(p1_norm_order).verdict == "does not reproduce"
    with monkeypatch.context() as patched:
        patched.setattr(p2_cosine_clamp.F, "cosine_similarity", lambda a, b, dim: torch.tensor(1.0))
        assert instant(p2_cosine_clamp).verdict == "does not reproduce"
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "half", lambda self: self.bfloat16())
        assert instant(p3_half_precision).verdict == "does not reproduce"


def test_a_remedy_that_fails_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, wrong in (
        (p1_norm_order, "safe_norm", lambda x: x.norm(dim=-1) * 2),
        (
            p2_cosine_clamp,
            "safe_cosine",
            lambda a, b: torch.nn.functional.cosine_similarity(a, b, dim=-1),
        ),  # fa-lint: ignore[FAL202] the wrong one
        (p3_half_precision, "safe_cosine", lambda a, b: torch.zeros(1)),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, wrong)
            result = CliRunner().invoke(main, ["verify", "--instant"])
            assert instant(module).remedy_works is False
            assert result.exit_code == 1
            assert "our remedy" in result.output


def test_a_claim_that_cannot_run_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(lab: Lab) -> Finding:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(running, "CLAIMS", (*chosen_claims("instant"), Claim("x", "t", "p", broken, level="instant")))
    found = verify("instant")
    assert not found.complete
    assert found.outcomes[-1].finding.verdict == "not measured"
    assert "no such thing" in found.outcomes[-1].finding.here[0]
    assert len(found.outcomes) == 5


def test_command_line(tmp_path: Path) -> None:
    files = tmp_path / "v.json", tmp_path / "v.html"
    result = CliRunner().invoke(main, ["verify", "--instant", "--json", str(files[0]), "--html", str(files[1])])
    assert result.exit_code == 0
    assert "that do not reproduce here" in result.output
    stored = json.loads(files[0].read_text())
    assert [c["key"] for c in stored["claims"]] == ["1", "2", "3", "costate"]
    assert stored["complete"] is True
    assert "<script" not in files[1].read_text()
    missing = CliRunner().invoke(main, ["verify", "--instant", "--json", str(tmp_path / "no" / "v.json")])
    assert missing.exit_code == 2
    assert "its folder does not exist" in missing.stderr


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Measurements:
    """A DFA network of a made-up configuration, through the machinery of verify."""
    recipe = Recipe(optimizer="adam", lr=1e-2, weight_decay=0.0, cosine=False, epochs=4, batch_size=64)
    mixture = Configuration("T", lambda: gaussian_mixture(32, noise=0.3, train=1024, test=1024), recipe, 1.0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(networks_module, "CONFIGURATIONS", {"T": mixture})
        wanted = spec("T", "dfa", [42])
        done: list[NetworkSpec] = []
        folder = tmp_path_factory.mktemp("networks")
        trained = train_networks((*wanted, *wanted), folder, 1, done.append)
        assert done == list(wanted), "trained once"
        measured = Measurements(trained[wanted[0]])
        assert measured.growth > 1, "measured while the configuration is known"
        networks_module.dataset.cache_clear()
        return measured


def test_measurements_are_those_of_the_diagnostics(small: Measurements) -> None:
    """Norms come from the package's own functions; the gradients Γ is taken with come from the local path. Equal."""
    states = [float(h[:128].double().norm(dim=1).quantile(0.5)) for h in small.states]
    gradients = [float(g[:128].double().norm(dim=1).quantile(0.5)) / 128 for g in small.gradients]
    assert small.state_norms == pytest.approx(states, rel=1e-5)
    assert small.mean_loss_gradient_norms == pytest.approx(gradients, rel=1e-3)
    means = torch.stack([part.double().mean(0) for part in torch.split(small.gradients[2], 128)])
    cosines = torch.corrcoef(torch.cat([means, -means], 1))  # centred by construction: the plain cosine
    upper = torch.triu_indices(8, 8, offset=1)
    assert small.stability(2) == pytest.approx(float(cosines[upper[0], upper[1]].mean()), rel=1e-3)


def test_a_nan_fires(small: Measurements) -> None:
    broken = Measurements(small.network)
    broken.__dict__["growth"] = float("nan")
    broken.__dict__["mean_loss_gradient_norms"] = [float("nan")]
    assert broken.fires_a()
    assert broken.fires_b()


def test_pairings(small: Measurements) -> None:
    trained, original = small.training_matrices(), small.original_matrices()
    feedback = small.network.method.auxiliaries
    assert feedback is not None
    names = ["blocks.0", "blocks.0", "blocks.1", "blocks.2", "blocks.3"]
    assert all(torch.equal(trained[i], feedback[name]) for i, name in enumerate(names))  # type: ignore[arg-type,index]
    shifted = ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.3"]
    assert all(torch.equal(original[i], feedback[name]) for i, name in enumerate(shifted))  # type: ignore[arg-type,index]


def test_fresh_feedback_is_what_drawing_it_gives(small: Measurements) -> None:
    """The closed form against credits that are really formed."""
    null = fresh_alignment(small, 40, seed=3, samples=256)
    generator = torch.Generator().manual_seed(3)
    state = 0
    width, classes = small.gradients[state].shape[1], small.error.shape[1]
    matrices = torch.randn(width, 40, classes, generator=generator).double() / classes**0.5
    error, gradient = small.error[:256], small.gradients[state][:256].double()
    for draw in (0, 17, 39):
        credit = error @ matrices[:, draw].T
        cosine = torch.nn.functional.cosine_similarity(credit, gradient, dim=1, eps=0.0)
        assert float(null[draw, state]) == pytest.approx(float(cosine.nanmean()), abs=1e-9)
    assert abs(float(null.mean())) < 0.02
    assert p_value(0.9, null[:, 0]) == pytest.approx(1 / 41)
    assert p_value(0.0, null[:, 0]) == 1.0


@pytest.fixture(scope="module")
def default() -> Verification:
    return verify("default")


@pytest.mark.slow
def test_default_level_measures_every_claim(default: Verification) -> None:
    assert default.complete
    assert {o.claim.key for o in default.outcomes} == {c.key for c in CLAIMS}


@pytest.mark.slow
def test_v2_fires_on_dfa_and_not_on_backprop_or_frozen_blocks(default: Verification) -> None:
    figures = {o.claim.key: o.finding.figures for o in default.outcomes}
    for seed in (42, 123, 456):
        dfa, bp, frozen = f"V2 dfa {seed}", f"V2 bp {seed}", f"V2 dfa frozen-method {seed}"
        assert figures["a"][dfa]["growth"] > 50
        assert figures["b"][dfa]["g_L"] < 1e-7
        for healthy in (bp, frozen):
            assert figures["a"][healthy]["growth"] <= 50
            assert figures["b"][healthy]["g_L"] >= 1e-7


@pytest.mark.slow
def test_false_alarms_of_the_original_are_shown_as_such(default: Verification) -> None:
    by_key = {o.claim.key: o for o in default.outcomes}
    for seed in (42, 123, 456):
        assert by_key["b"].finding.figures[f"V1 bp {seed}"]["g_L"] < 1e-7
    assert any("FALSE ALARM" in line and "backprop" in line for line in by_key["b"].finding.here)
    assert any("FALSE ALARM" in line for line in by_key["d"].finding.here)
    assert by_key["b, noise"].finding.verdict == "does not reproduce"
    assert by_key["c"].finding.verdict == "does not reproduce"
    assert by_key["b"].finding.remedy_works
    assert {o.claim.key for o in default.unreproduced} >= {"2", "4", "5", "6", "a", "b", "b, noise", "c", "d"}


def test_labels_are_file_names() -> None:
    one = spec("V2", "dfa", [1], frozen="bp", penalty=0.01)[0]
    assert one.label == "V2 dfa frozen-bp λ=0.01 1"
    assert one.recipe == replace(CONFIGURATIONS["V2"].recipe, frozen="bp", penalty=0.01)
