"""The report as a booktabs table for a paper."""

from __future__ import annotations

import math
import re

from ..diagnostics.report import DiagnosticReport
from ..escaping import visible
from .words import headline

__all__ = ["to_latex"]

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}", "‖": r"$\|$", "×": r"$\times$",
    "·": r"$\cdot$", "²": r"\textsuperscript{2}", "…": r"\dots{}", "−": "$-$", "±": r"$\pm$", "–": "--",
    "<": r"\textless{}", ">": r"\textgreater{}", "≥": r"$\ge$", "≤": r"$\le$", "≠": r"$\ne$", "→": r"$\to$",
    "∞": r"$\infty$", "√": r"$\surd$", "∈": r"$\in$", "\0": "{}",
}  # fmt: skip
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_LETTERS = zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", _GREEK.split(), strict=True)
_SPECIAL |= {letter: rf"$\{name}$" for letter, name in _LETTERS}


def escaped(text: str) -> str:
    """Text that LaTeX sets as it stands.

    Example:
        >>> escaped("100 % of fc_1")
        '100 \\\\% of fc\\\\_1'
    """
    apart = re.sub("-(?=-)", "-\0", visible(text))  # two hyphens would become a dash
    return "".join(_SPECIAL.get(character, character) for character in apart)


def number(value: float) -> str:
    """A number in math mode; a dash for NaN.

    Example:
        >>> number(5e-10), number(0.25), number(float("nan"))
        ('$5.0\\\\times10^{-10}$', '$0.25$', '--')
    """
    if math.isnan(value):
        return "--"
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return rf"${mantissa}\times10^{{{int(exponent)}}}$"
    return f"${value:.3g}$"


def to_latex(report: DiagnosticReport) -> str:
    """A ``table`` environment: one row a layer, the verdict in the caption. Needs ``\\usepackage{booktabs}``.

    Example:
        >>> from fa_lint_runtime import DiagnosticThresholds
        >>> report = DiagnosticReport("DFA", "", [], [], 1, 0.0, 0.3, None, DiagnosticThresholds())
        >>> r"\\toprule" in report.to_latex()
        True
    """
    aligned = any(x.alignment for x in report.layers)
    head = [r"$l$", "state", r"$\|h_l\|$", r"$\|g_l\|$", r"$\|g_l\|/\|e\|$", "elasticity", r"$\rho_\mathrm{dir}$"]
    if aligned:
        head += [r"$\Gamma_l$", r"95\,\%", r"$z$", r"$p_\mathrm{Holm}$"]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(headline(report))}. {_settings(report)}}}",
        rf"\begin{{tabular}}{{rl{'r' * (len(head) - 2)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    for x in report.layers:
        row = [
            str(x.index),
            escaped(x.name),
            number(x.hidden_norm),
            number(x.gradient_norm),
            number(x.credit_per_error),
            number(x.elasticity),
            number(x.drift.rho_direction.value),
        ]
        if aligned:
            a = x.alignment
            low_high = "" if a is None or math.isnan(a.gamma.low) else f"$[{a.gamma.low:.2f}, {a.gamma.high:.2f}]$"
            row += ["--"] * 4 if a is None else [number(a.gamma.value), low_high, number(a.z), number(a.p_holm)]
        lines.append(" & ".join(row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def _settings(report: DiagnosticReport) -> str:
    p = report.provenance
    if p is None:
        return ""
    text = f"Medians over {p.samples} samples in {p.batches} batches, gradients of the summed loss"
    if report.alignment:
        text += f"; null of {report.alignment.draws} fresh feedbacks, Holm over layers"
    return escaped(text) + "."
