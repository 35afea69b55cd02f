"""The documentation site: what it is made of, mkdocs without a warning, and a look at it in Chromium, wide and narrow."""

from __future__ import annotations

import ast
import functools
import http.server
import importlib.util
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from fa_lint.rules import ENGINE_CODES, registry
from tests.integrations.repository import ROOT
from tools.rule_pages import pages
from tools.website import API, rules_menu, site_pages

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_RUNTIME = ROOT / "fa_lint_runtime" / "__init__.py"
_NO_MKDOCS = importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None


# -- pages --------------------------------------------------------------------------------------------------------


def test_every_rule_and_every_page_of_the_repository_is_a_page() -> None:
    found = site_pages()
    assert {f"rules/{name}" for name in pages()} <= set(found)
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(found)
    kept = {"README.md": "index.md"}
    for path in ROOT.glob("*.md"):
        title = re.search(r"(?m)^# (.+)$", path.read_text(encoding="utf-8"))[1]  # type: ignore[index]
        assert f"# {title}\n" in found[kept.get(path.name, path.name.lower())], path.name


def test_the_menu_has_every_page_once() -> None:
    menu = yaml.safe_load(re.search(r"(?ms)^nav:\n.*?^$", (ROOT / "mkdocs.yml").read_text())[0])["nav"]  # type: ignore[index]
    listed = re.findall(r'"([\w/.-]+\.md)"', json.dumps([menu, rules_menu()]))
    assert sorted(listed) == sorted([*site_pages(), "rules/README.md"])


def test_links_lead_to_pages_or_to_the_repository() -> None:
    found = site_pages()
    for page, text in found.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?ms)^ *```.*?^ *```$", "", text)):
            if re.match(r"[a-z]+:|#", target):
                continue
            path = str(Path("/", page).parent.joinpath(target.partition("#")[0]).resolve())[1:]
            assert path in found or (path.startswith("assets/") and (ROOT / "docs" / path).is_file()), (
                f"{page}: {target}"
            )
        for path in re.findall(r"\]\(https://github.com/fa-lint/fa-lint/blob/main/([^)#\s]+)\)", text):
            assert (ROOT / path).exists(), f"{page}: {path}"


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name)
def test_links_lead_to_files_and_headings_in_the_repository(path: Path) -> None:
    for target in _links(path):
        name, _, anchor = target.partition("#")
        goal = (path.parent / name).resolve() if name else path
        assert goal.exists(), target
        assert not anchor or anchor in _anchors(goal), target


def _links(path: Path) -> list[str]:
    outside = re.sub(r"(?ms)^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"))
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", outside) if not re.match(r"[a-z]+:", target)]


def _anchors(path: Path) -> set[str]:
    """Return what GitHub and mkdocs call the headings of a page: they agree on headings in ASCII."""
    titles = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^ *```.*?^ *```$", "", path.read_text(encoding="utf-8")))
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.lower())) for title in titles if title.isascii()}


def test_every_public_name_is_on_the_page_of_one_topic() -> None:
    listed = [name for _, _, names in API.values() for name in names.split() if "." not in name]
    public = ast.literal_eval(re.search(r"(?ms)^__all__ = (\[.*?\])", _RUNTIME.read_text())[1])  # type: ignore[index]
    assert sorted([*listed, "__version__"]) == sorted(public)
    for topic, page in ((topic, site_pages()[f"api/{topic}.md"]) for topic in API):
        rows = re.findall(r"(?m)^\| \[`[\w.]+`\]\[[\w.]+\] \| (.*) \|$", page)
        assert len(rows) == len(API[topic][2].split())
        assert all(len(sentence) > 10 for sentence in rows)


def test_the_home_page_has_two_buttons() -> None:
    buttons = re.findall(r"\[[^\]]+\]\(([^)]+)\)\{ \.md-button", site_pages()["index.md"])
    assert buttons == ["get-started.md", "rules/README.md"]


def test_code_of_the_pages_is_left_as_it_is() -> None:
    everything = "\n".join(site_pages().values())
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for fence in re.findall(r"(?ms)^```.*?^```$", path.read_text(encoding="utf-8")):
            assert fence in everything


# -- the built site -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if _NO_MKDOCS:
        pytest.skip("the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        str(ROOT / "mkdocs.yml"),
        "-d",
        str(folder),
    ]
    # mkdocs-material speaks of another program there.
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if re.search(r"WARNING|ERROR", line)]
    assert (done.returncode, said) == (0, []), done.stderr
    return folder


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.outside: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        source = dict(attrs).get("src") or (dict(attrs).get("href") if tag == "link" else None)
        if source and re.match(r"(https?:)?//", source) and dict(attrs).get("rel") != "canonical":
            self.outside.append(source)


def _text(page: Path) -> str:
    parser = _Text()
    parser.feed(page.read_text(encoding="utf-8"))
    assert parser.outside == [], "a page loads nothing from elsewhere"
    return " ".join("".join(parser.text).split())


def test_mkdocs_builds_it_without_a_warning(site: Path) -> None:
    for code in [*registry(), *ENGINE_CODES]:
        assert code in _text(site / "rules" / code / "index.html")
    topics = [site / "api" / topic / "index.html" for topic in API]
    runtime = " ".join(map(_text, topics))
    documented = {
        name
        for page in topics
        for name in re.findall(r'id="fa_lint_runtime\.(?:\w+\.)*(\w+)"', page.read_text(encoding="utf-8"))
    }
    public = ast.literal_eval(re.search(r"(?ms)^__all__ = (\[.*?\])", _RUNTIME.read_text())[1])  # type: ignore[index]
    assert set(public) - documented == {"__version__"}
    # The docstrings were read: the text of a section, an example as code, and no role of another system.
    assert "where the vectors lie" in runtime
    assert ">>> safe_cosine(" in runtime
    assert not re.search(r":(func|class|meth):", runtime)
    assert "pre-commit try-repo" in _text(site / "pre-commit" / "index.html")
    assert (site / "search" / "search_index.json").stat().st_size > 10_000


# -- in a browser -------------------------------------------------------------------------------------------------


class _Server(http.server.ThreadingHTTPServer):
    """Serves the site; what a page posts is put into ``posted``."""

    def __init__(self, folder: Path) -> None:
        self.posted: queue.Queue[bytes] = queue.Queue()
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.posted.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[_Server]:
    with _Server(site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


# A frame of the width asked for: a window of Chromium has a least width of its own.
_PROBE = """<body><script>
const pages = %s, width = %d, found = {};
const light = (colour) => {  // relative luminance, as WCAG defines it
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
async function look(page) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900; frame.style.border = 0;
  await new Promise(done => { frame.onload = done; frame.src = page; document.body.append(frame); });
  const inside = frame.contentDocument, root = inside.documentElement;
  const menu = inside.querySelector(".md-header__button[for=__drawer]");
  const schemes = {};
  for (const scheme of ["default", "slate"]) {
    inside.body.setAttribute("data-md-color-scheme", scheme);
    const style = frame.contentWindow.getComputedStyle;
    const text = light(style(inside.querySelector("article")).color), ground = light(style(inside.body).backgroundColor);
    schemes[scheme] = {
      overflow: root.scrollWidth - width,
      contrast: (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05),
    };
  }
  const box = inside.querySelector("#rule-filter"), rows = [];
  if (box) for (const words of ["", "unsafe cosine"]) {
    box.value = words; box.dispatchEvent(new Event("input"));
    rows.push([...inside.querySelectorAll("article tbody tr")].filter(row => row.offsetParent).map(row => row.cells[0].textContent));
  }
  found[page] = {
    schemes, rows,
    overflow: root.scrollWidth - width,
    title: inside.querySelector("h1").textContent,
    menu: frame.contentWindow.getComputedStyle(menu).display != "none",
    sidebar: inside.querySelector(".md-sidebar--primary").getBoundingClientRect().left >= 0,
    styled: frame.contentWindow.getComputedStyle(inside.querySelector(".md-header")).position,
  };
  frame.remove();
}
(async () => {
  for (const page of pages) await look(page);
  await fetch("/_found", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


@contextmanager
def _chromium(profile: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    assert _CHROMIUM is not None
    quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]
    command = [_CHROMIUM, *quiet, f"--user-data-dir={profile}", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _is_drawn(png: Path, width: int) -> bool:
    data = png.read_bytes()
    # A blank page of this size compresses to a few kilobytes.
    return data[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(data[16:20]) == width and len(data) > 20_000


@pytest.mark.slow
@pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium: `apt-get install chromium`")
@pytest.mark.parametrize("width", [1280, 400])
def test_in_chromium(site: Path, served: _Server, tmp_path: Path, width: int) -> None:
    looked_at = ["/" + str(page.relative_to(site)) for page in sorted(site.rglob("index.html"))]
    assert len(looked_at) > 20
    (site / "_probe.html").write_text(_PROBE % (json.dumps(looked_at), width))
    with _chromium(tmp_path / "one", "--remote-debugging-port=0", f"{served.address}/_probe.html"):
        found = json.loads(served.posted.get(timeout=180))
    assert set(found) == set(looked_at)
    for page, seen in found.items():
        assert seen["overflow"] <= 0, f"{page} is wider than {width} pixels"
        for scheme, drawn in seen["schemes"].items():
            assert drawn["overflow"] <= 0, (page, scheme)
            assert drawn["contrast"] >= 4.5, (page, scheme)
        assert seen["title"].strip()
        assert seen["styled"] == "sticky"
        # Narrow: a button opens the menu. Wide: the menu is there.
        assert seen["menu"] == (width == 400), page
        assert seen["sidebar"] == (width == 1280), page
    # The rules have a filter, the other pages have none.
    assert [page for page, seen in found.items() if seen["rows"]] == ["/rules/index.html"]
    everything, filtered = found["/rules/index.html"]["rows"]
    assert len(everything) == len(registry()) + len(ENGINE_CODES)
    wanted = {
        code
        for code, rule in registry().items()
        if rule.fixable == "unsafe" and "cosine" in f"{rule.name} {rule.summary}"
    }
    assert set(filtered) == wanted
    frame = f"<body style='margin:0'><iframe src='/rules/FAL201/' width={width} height=900 style='border:0'></iframe>"
    (site / "_frame.html").write_text(frame)
    shot = tmp_path / "shot.png"
    size = f"--window-size={max(width, 500)},900"
    with _chromium(tmp_path / "two", size, f"--screenshot={shot}", f"{served.address}/_frame.html") as process:
        process.wait(120)
    assert _is_drawn(shot, max(width, 500))
