"""The pages of the documentation site, for mkdocs: README.md, ``docs``, the root's pages and the runtime's docstrings.

mkdocs loads this file as a hook (see ``mkdocs.yml``). Every page keeps the links that are right in the repository; here
they are set to the pages of the site.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fa_lint.rules import ENGINE_CODES, registry

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

__all__ = ["on_config", "on_files", "rules_menu", "site_pages"]

_ROOT = Path(__file__).resolve().parent.parent
_SOURCE = "https://github.com/fa-lint/fa-lint/blob/main/"
_ROOT_PAGES = {
    "README.md": "index.md",
    "CHECKLIST.md": "checklist.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
_FENCE = re.compile(r"^( *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
_REFERENCE = "docs/runtime.md"
_API = """

## Reference

::: fa_lint_runtime
"""
_DIRECTIVE = """
::: {0}.{1}
    options:
      show_root_heading: true
      show_root_toc_entry: true
      show_root_full_path: false
      heading_level: 3
"""


def site_pages() -> dict[str, str]:
    """Return the Markdown of every page of the site."""
    docs = [path.relative_to(_ROOT).as_posix() for path in sorted((_ROOT / "docs").rglob("*.md"))]
    sources = [*_ROOT_PAGES, *(name for name in docs if not name.startswith("docs/reproduction/"))]
    places = {name: _ROOT_PAGES.get(name, name.removeprefix("docs/")) for name in sources}
    found = {}
    for name, page in places.items():
        text = (_ROOT / name).read_text(encoding="utf-8")
        if name == _REFERENCE:
            text += _API + _namesakes()
        found[page] = _relinked(text, name, places)
    return found


def _namesakes() -> str:
    """Return directives for the functions named like the module they live in: griffe sees the module only."""
    package = _ROOT / "fa_lint_runtime"
    public = _assigned(ast.parse((package / "__init__.py").read_text(encoding="utf-8")), "__all__")
    lines = []
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(_ROOT).with_suffix("").parts
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            named = node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
            if named in public and named in inside:
                lines.append(_DIRECTIVE.format(".".join(part for part in inside if part != "__init__"), named))
    return "".join(lines)


def _assigned(module: ast.Module, name: str) -> set[str]:
    """Return the strings in the list that is assigned to a name."""
    lists = [
        node.value
        for node in module.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
    ]
    items = (item for found in lists for item in ast.walk(found) if isinstance(item, ast.Constant))
    return {item.value for item in items if isinstance(item.value, str)}


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
