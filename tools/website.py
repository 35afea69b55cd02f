"""The pages of the documentation site, for mkdocs: README.md, ``docs``, the root's pages and the runtime's docstrings.

mkdocs loads this file as a hook (see ``mkdocs.yml``). Every page keeps the links that are right in the repository; here
they are set to the pages of the site.
"""

from __future__ import annotations

import ast
import posixpath
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fa_lint.rules import ENGINE_CODES, registry
from tools.website_docstrings import plain

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

__all__ = ["API", "on_config", "on_files", "rules_menu", "site_pages"]

_ROOT = Path(__file__).resolve().parent.parent
_SOURCE = "https://github.com/fa-lint/fa-lint/blob/main/"
_ROOT_PAGES = {
    "README.md": "index.md",
    "CHECKLIST.md": "checklist.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
_BUTTONS = """

[Get started](get-started.md){ .md-button .md-button--primary } [All rules](rules/README.md){ .md-button }"""
_FENCE = re.compile(r"^( *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
_DIRECTIVE = """
::: {0}
    options:
      show_root_heading: true
      show_root_toc_entry: true
      show_root_full_path: false
      heading_level: 2
"""
# The runtime's names by topic: a page each, of a sentence, a table and the docstrings.
API = {
    "numerics": (
        "Numerics",
        "Cosines, angles and norms without a floor, and how large the numbers are.",
        "safe_cosine safe_cosine_similarity SafeCosineSimilarity safe_cosine_matrix safe_angle safe_norm safe_unit "
        "output_error check_magnitude assert_magnitude dtype_headroom MagnitudeReport Headroom strictness "
        "current_strictness RuntimeCheckWarning RuntimeNumericsError MagnitudeError UndefinedCosineError",
    ),
    "guard": (
        "Guard",
        "Watch unmodified code while it runs. How to use it: [the guard](../guard.md).",
        "guard GuardLog GuardEvent GuardError GuardWarning",
    ),
    "diagnose": (
        "Diagnose",
        "Do accuracy and Γ support a claim? How to use it: [diagnose](../diagnose.md).",
        "diagnose DiagnosticReport LayerReport DiagnosticThresholds FrozenBaseline CreditInputs plain_twin "
        "residual_norms bp_grad_norms cross_batch_direction_stability per_sample_cosines per_sample_gradients",
    ),
    "provenance": (
        "Provenance",
        "Feedback with a digest, and checkpoints that keep it.",
        "Feedback save_checkpoint load_checkpoint Checkpoint StoredFeedback inspect_checkpoint Inspection TensorEntry "
        "CheckpointError MissingFeedbackError",
    ),
    "monitor": (
        "Monitor",
        "Diagnostics during training. How to use it: [during training](../monitoring.md).",
        "Monitor monitor.lightning.MonitorCallback monitor.transformers.MonitorTrainerCallback",
    ),
    "audit": (
        "Audit",
        "Methods and seeds, trained and diagnosed. How to use it: [audit a method](../audit.md).",
        "audit.AuditConfig audit.run_audit",
    ),
}


def site_pages() -> dict[str, str]:
    """Return the Markdown of every page of the site."""
    docs = [path.relative_to(_ROOT).as_posix() for path in sorted((_ROOT / "docs").rglob("*.md"))]
    sources = [*_ROOT_PAGES, *(name for name in docs if not name.startswith("docs/reproduction/"))]
    places = {name: _ROOT_PAGES.get(name, name.removeprefix("docs/")) for name in sources}
    found = {}
    for name, page in places.items():
        text = (_ROOT / name).read_text(encoding="utf-8")
        found[page] = _relinked(text, name, places)
    found["index.md"] = _BUTTONS.join(re.split(r"(?<=[a-z]\.)(?=\n\n)", found["index.md"], maxsplit=1))
    return found | {f"api/{topic}.md": _api_page(topic) for topic in API}


def _api_page(topic: str) -> str:
    """Return the page of one topic: its names with their first sentences, then what mkdocstrings makes of each."""
    title, purpose, names = API[topic]
    rows, details = [], []
    for name in names.split():
        home, sentence = _definition(name)
        rows.append(f"| [`{name}`][{home}] | {sentence} |")
        details.append(_DIRECTIVE.format(home))
    return "\n".join([f"# {title}", "", purpose, "", "| name | |", "|---|---|", *rows, *details])


@cache
def _definitions() -> dict[str, tuple[str, str]]:
    """Return where each public class and function of the runtime is defined, and its first sentence."""
    found = {}
    for path in sorted((_ROOT / "fa_lint_runtime").rglob("*.py")):
        module = [part for part in path.relative_to(_ROOT).with_suffix("").parts if part != "__init__"]
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                text = " ".join(plain(ast.get_docstring(node) or "").partition("\n\n")[0].split())
                sentence = re.split(r"(?<=[.!]) ", text)[0].replace("||", "‖").replace("|", "\\|")
                found[".".join([*module, node.name])] = (node.name, sentence)
    return found


def _definition(name: str) -> tuple[str, str]:
    """Return the full path and the first sentence of a name of the runtime; LookupError unless it is defined once."""
    inside, _, last = name.rpartition(".")
    start = f"fa_lint_runtime.{inside}"
    homes = [(path, text) for path, (own, text) in _definitions().items() if own == last and path.startswith(start)]
    if len(homes) != 1:
        raise LookupError(f"`{name}` is defined {len(homes)} times in fa_lint_runtime")
    return homes[0]


def _relinked(markdown: str, name: str, places: dict[str, str]) -> str:
    """Return a page of the repository with its links set to the site; what stands in fences is no link."""

    def relink(match: re.Match[str]) -> str:
        return f"[{match['text']}]({_target(match['target'], name, places)})"

    parts = _FENCE.split(markdown)
    return "".join(part if part.lstrip().startswith("```") else _LINK.sub(relink, part) for part in parts)


def _target(target: str, name: str, places: dict[str, str]) -> str:
    """Return where a link leads on the site; what is no page of it leads to the repository."""
    if re.match(r"[a-z]+:|#", target):
        return target
    path, mark, anchor = target.partition("#")
    inside = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
    if inside in places:
        goal = places[inside]
    elif inside.startswith("docs/assets/"):
        goal = inside.removeprefix("docs/")
    else:
        return _SOURCE + inside + mark + anchor
    return posixpath.relpath(goal, posixpath.dirname(places[name]) or ".") + mark + anchor


def rules_menu() -> list[Any]:
    """Return the menu of the rules, in the order of their codes."""
    return ["rules/README.md", *(f"rules/{code}.md" for code in [*registry(), *ENGINE_CODES])]


# -- what mkdocs calls --------------------------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the entry `Rules` of the navigation."""
    config.nav = [{"Rules": rules_menu()} if "Rules" in entry else entry for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the Markdown of the folder by the pages of the site, whose links lead to pages."""
    from mkdocs.structure.files import File

    for existing in list(files.documentation_pages()):
        files.remove(existing)
    for page, text in site_pages().items():
        files.append(File.generated(config, page, content=text))
    return files
