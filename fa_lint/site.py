"""The documentation site, made by mkdocs of README.md, CHECKLIST.md, the rule classes and the runtime's docstrings.

mkdocs loads this file as a hook (see ``mkdocs.yml``): nothing is written into the repository, and a new section of the
README or a new rule has its page and its place in the navigation at once.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fa_lint.pages import pages
from fa_lint.rules import ENGINE_CODES, registry

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

__all__ = ["navigation", "on_config", "on_files", "site_pages"]

_ROOT = Path(__file__).resolve().parent.parent
_SOURCE = "https://github.com/fa-lint/fa-lint/blob/main/"
# These open the start page; every other section of the README is a page of its own.
_START = ("Two commands", "What it finds")
# Its subsections are pages.
_SPLIT = "Integrations"
_LEFT_OUT = ("Licence",)
_ROOT_PAGES = {"CHECKLIST.md": "checklist.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
               "SECURITY.md": "security.md", "docs/REPRODUCTION.md": "reproduction.md"}  # fmt: skip
_FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
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


def _slug(title: str) -> str:
    """The anchor GitHub and mkdocs give to a heading."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())


def _sections(markdown: str, level: int) -> tuple[str, list[tuple[str, str]]]:
    """What stands before the first heading of a level, and (title, body) of each; fences are no headings."""
    mark = "#" * level + " "
    head: list[str] = []
    found: list[tuple[str, list[str]]] = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.startswith("```")
        if line.startswith(mark) and not fenced:
            found.append((line.removeprefix(mark).strip(), []))
        elif found:
            found[-1][1].append(line)
        else:
            head.append(line)
    return "\n".join(head).strip() + "\n", [(title, "\n".join(body).strip() + "\n") for title, body in found]


def _raised(markdown: str, levels: int) -> str:
    """The headings of a section moved up, so that its page has them from the second level on."""
    parts = _FENCE.split(markdown)
    lifted = [part if part.startswith("```") else re.sub(rf"(?m)^#{{{levels}}}(?=#)", "", part) for part in parts]
    return "".join(lifted)


def _readme_pages(readme: str) -> dict[str, str]:
    intro, sections = _sections(readme, 2)
    start = [intro]
    found: dict[str, str] = {}
    for title, body in sections:
        if title in _START:
            start.append(f"## {title}\n\n{body}")
        elif title == _SPLIT:
            head, parts = _sections(body, 3)
            links = "\n".join(f"- [{part}]({_slug(part)}.md)" for part, _ in parts)
            found["integrations/index.md"] = f"# {title}\n\n{head}\n{links}\n"
            for part, text in parts:
                found[f"integrations/{_slug(part)}.md"] = f"# {part}\n\n{_raised(text, 2)}"
        elif title not in _LEFT_OUT:
            found[f"{_slug(title)}.md"] = f"# {title}\n\n{_raised(body, 1)}"
    return {"index.md": "\n".join(start), **found}


def site_pages() -> dict[str, str]:
    """Page → Markdown, with its links set to the pages of the site."""
    found = _readme_pages((_ROOT / "README.md").read_text(encoding="utf-8"))
    found["the-runtime.md"] = found.get("the-runtime.md", "# The runtime\n") + _API + _namesakes()
    for name, page in _ROOT_PAGES.items():
        found[page] = (_ROOT / name).read_text(encoding="utf-8")
    for name, text in pages().items():
        found[f"rules/{name}"] = text
    anchors = {_slug(line): page for page, text in found.items() for line in _headings(text)}
    return {page: _relinked(text, page, anchors) for page, text in found.items()}


def _namesakes() -> str:
    """Directives for the functions named like the module they live in: griffe sees the module only."""
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
    """The strings in the list that is assigned to a name."""
    lists = [
        node.value
        for node in module.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
    ]
    items = (item for found in lists for item in ast.walk(found) if isinstance(item, ast.Constant))
    return {item.value for item in items if isinstance(item.value, str)}


def _headings(markdown: str) -> list[str]:
    return re.findall(r"(?m)^#{1,3} (.+)$", _FENCE.sub("", markdown))


def _relinked(markdown: str, page: str, anchors: dict[str, str]) -> str:
    def relink(match: re.Match[str]) -> str:
        return f"[{match['text']}]({_target(match['target'], page, anchors)})"

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(relink, part) for part in parts)


def _target(target: str, page: str, anchors: dict[str, str]) -> str:
    """Where a link of the repository leads on the site; what is no page of it leads to the repository."""
    if re.match(r"[a-z]+:", target):
        return target
    path, _, anchor = target.partition("#")
    if page.startswith("rules/"):
        # The pages of the rules stand in the repository as they are.
        path = path.removeprefix("../../") if path.startswith("../../") else f"docs/rules/{path}" if path else path
    if not path or path == "README.md":
        home = anchors.get(anchor, "index.md")
        own = home if home != page else ""
        return f"{_up(page)}{own}#{anchor}" if own and anchor else own or f"#{anchor}"
    if path.startswith("integrations/") or (page.startswith("integrations/") and "/" not in path):
        return target
    if path in _ROOT_PAGES:
        inside = _ROOT_PAGES[path]
    elif path.startswith("docs/rules/"):
        inside = path.removeprefix("docs/")
    else:
        return _SOURCE + target
    return _up(page) + inside + (f"#{anchor}" if anchor else "")


def _up(page: str) -> str:
    return "../" * page.count("/")


def navigation(found: dict[str, str]) -> list[dict[str, Any]]:
    """The menu, in the order of the README."""
    titles = {page: _headings(text)[0] for page, text in found.items()}
    integrations = [page for page in found if page.startswith("integrations/")]
    codes = [code for code in [*registry(), *ENGINE_CODES] if f"rules/{code}.md" in found]
    menu: list[dict[str, Any]] = [{"Start": "index.md"}]
    for page in found:
        if page == "integrations/index.md":
            menu.append({titles[page]: [page, *({titles[p]: p} for p in integrations if p != page)]})
        elif "/" not in page and page != "index.md" and page not in _ROOT_PAGES.values():
            menu.append({titles[page]: page})
    rules = {"Rules": ["rules/README.md", *({titles[f"rules/{code}.md"]: f"rules/{code}.md"} for code in codes)]}
    project = {"Project": [{titles[p]: p} for p in _ROOT_PAGES.values() if p != "checklist.md"]}
    return [menu[0], rules, {"Checklist": "checklist.md"}, *menu[1:], project]


# -- what mkdocs calls --------------------------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation."""
    config.nav = navigation(site_pages())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages; those of the rules take the place of the files in ``docs/rules``, whose links are the repository's."""
    from mkdocs.structure.files import File

    # What lies in the folder is the repository's: its links do not lead to pages.
    for existing in list(files.documentation_pages()):
        files.remove(existing)
    for page, text in site_pages().items():
        files.append(File.generated(config, page, content=text))
    return files
