from __future__ import annotations

import re
from itertools import groupby
from xml.etree import ElementTree

from fa_lint.output._common import relative
from fa_lint.project.engine import Report
from fa_lint.source.escaping import visible

__all__ = ["render_junit"]

# XML 1.0 has no way to write these.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def _clean(text: str) -> str:
    return visible(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))


def render_junit(report: Report) -> str:
    """JUnit XML: a suite a file, a failed case a finding; one passing case where there is none."""
    suites = ElementTree.Element("testsuites", name="fa-lint")
    total = len(report.diagnostics)
    suites.set("tests", str(max(total, 1)))
    suites.set("failures", str(total))
    if not total:
        suite = ElementTree.SubElement(suites, "testsuite", name="fa-lint", tests="1", failures="0", errors="0")
        ElementTree.SubElement(suite, "testcase", name="No findings", classname="fa-lint")
    for path, group in groupby(report.diagnostics, key=lambda d: d.path):
        found = list(group)
        count = str(len(found))
        suite = ElementTree.SubElement(
            suites, "testsuite", name=_clean(relative(path)), tests=count, failures=count, errors="0", package="fa_lint"
        )
        for item in found:
            cell = f" cell {item.cell}" if item.cell is not None else ""
            case = ElementTree.SubElement(
                suite,
                "testcase",
                name=f"{_clean(item.code)}{cell} {item.start.row}:{item.start.column}",
                classname=_clean(relative(path)),
                line=str(item.start.row),
                column=str(item.start.column),
            )
            failure = ElementTree.SubElement(case, "failure", message=_clean(item.message), type=str(item.level))
            failure.text = _clean(f"line {item.start.row}, col {item.start.column}, {item.message}")
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
