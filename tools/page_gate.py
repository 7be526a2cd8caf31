"""The static page gate: ``python -m tools.page_gate _build/html`` reads every built page and prints what is wrong.

It refuses what a reader without a network, with a screen reader or on a second visit would stumble over: an asset
loaded from another host, an image without alt text, a link to a page or an anchor that does not exist, a directive
that was not rendered, a traceback, a page without title, heading or language. Plain links to other sites are fine.
Exit code 1 with one line for each problem, 0 without any, 2 where there is nothing to read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup
from bs4.element import Tag

OUTSIDE = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"@import\s+(?:url\()?\s*['\"]?([^'\")\s;]+)|url\(\s*['\"]?([^'\")]+)", re.IGNORECASE)
# An inline script that loads: import("…"), fetch("…"), importScripts("…"), something.src = "…".
IN_SCRIPT = re.compile(
    r"(?:\bimport\s*\(|\bfetch\s*\(|importScripts\s*\(|\.src\s*=|\bfrom\b|\bimport\b)\s*[\"'`]((?:https?:)?//[^\"'`]+)"
)
# What is left in the text where a directive, role or substitution of MyST was not rendered, or a cell failed.
UNRENDERED = {
    "unrendered substitution": re.compile(r"\{\{|\}\}"),
    "unrendered directive": re.compile(r"(?:`{3,}|:{3,})\s*\{[a-z][\w:-]*\}|^\s*\.\. [a-z-]+::", re.MULTILINE),
    "unrendered role": re.compile(r"\{[a-z]+(?::[a-z]+)?\}`"),
    "Python traceback": re.compile(r"Traceback \(most recent call last\)"),
    "unrendered option": re.compile(r"^:(?:class|label|name|alt|width):\s", re.MULTILINE),
}
# Attributes through which a page loads something; an <a href> does not load.
LOADING = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
# Links in the head that name something without loading it.
NAMING = {"author", "canonical", "help", "index", "license", "next", "prev", "search", "alternate"}


@dataclass(frozen=True)
class Problem:
    """One finding: the page, the element, and what is wrong with it."""

    page: str
    element: str
    what: str

    def __str__(self) -> str:
        return f"{self.page}: {self.element}: {self.what}"


def _name(tag: Tag) -> str:
    """The opening tag, short enough for a line."""
    keys = [key for key in ("id", "class", "src", "href", "alt") if tag.get(key)]
    shown = " ".join(f'{key}="{_text(tag, key)}"' for key in keys)
    return f"<{tag.name} {shown}"[:110].rstrip() + ">"


def _text(tag: Tag, key: str) -> str:
    value = tag.get(key)
    return " ".join(value) if isinstance(value, list) else str(value or "")


def outside_loads(page: str, soup: BeautifulSoup) -> Iterator[Problem]:
    """Assets that come from another host: attributes, inline styles, inline scripts."""
    for tag in soup.find_all(list(LOADING)):
        if tag.name == "link" and set(_text(tag, "rel").split()) & NAMING:
            continue
        for key in LOADING[tag.name]:
            addresses = [part.split()[0] for part in _text(tag, key).split(",") if part.strip()]
            if any(OUTSIDE.match(address) for address in addresses if not address.startswith("data:")):
                yield Problem(page, _name(tag), f"loads {_text(tag, key)} from another host")
    for tag in soup.find_all(["style", "script"]):
        pattern = IN_STYLE if tag.name == "style" else IN_SCRIPT
        yield from (Problem(page, f"<{tag.name}>", f"loads {a} from another host") for a in _outside(tag.text, pattern))
    for tag in soup.find_all(style=True):
        found = _outside(_text(tag, "style"), IN_STYLE)
        yield from (Problem(page, _name(tag), f"loads {address} from another host") for address in found)


def _outside(text: str, pattern: re.Pattern[str]) -> list[str]:
    addresses = [next(group for group in match.groups() if group) for match in pattern.finditer(text)]
    return [address for address in addresses if OUTSIDE.match(address)]


def images(page: str, soup: BeautifulSoup) -> Iterator[Problem]:
    """Images without a text that says what they show; the file's own name, Sphinx's stopgap, is not such a text."""
    for image in soup.find_all("img"):
        alt, source = _text(image, "alt").strip(), _text(image, "src")
        if not alt:
            yield Problem(page, _name(image), "has no alt text")
        elif Path(alt).name == Path(source).name:
            yield Problem(page, _name(image), "has its file name for alt text")


def rendering(page: str, soup: BeautifulSoup) -> Iterator[Problem]:
    """Text of the article that MyST should have consumed, and failed cells. Code cells may hold what they like."""
    article = soup.find("article") or soup.body or soup
    for output in article.select(".output"):
        if UNRENDERED["Python traceback"].search(output.get_text()):
            yield Problem(page, _name(output), "Python traceback in an output")
    for code in article.select("pre, code, .math, script, style, .sig"):
        code.extract()  # there, brackets are code
    text = article.get_text()
    for what, pattern in UNRENDERED.items():
        match = pattern.search(text)
        if match:
            near = " ".join(text[max(match.start() - 30, 0) : match.end() + 30].split())
            yield Problem(page, "<article>", f"{what}: … {near} …")
    for tag in article.select(".problematic, .system-message"):
        yield Problem(page, _name(tag), f"Sphinx could not render: {tag.get_text()[:60]}")


def structure(page: str, soup: BeautifulSoup) -> Iterator[Problem]:
    """What every page has: a language, a title, exactly one first-level heading."""
    html = soup.find("html")
    if not isinstance(html, Tag) or not _text(html, "lang"):
        yield Problem(page, "<html>", "has no lang attribute")
    if not soup.title or not soup.title.get_text().strip():
        yield Problem(page, "<head>", "has no title")
    headings = (soup.find("article") or soup).find_all("h1")
    if not any(heading.get_text().strip(" #\n") for heading in headings):
        yield Problem(page, "<article>", "has no h1")
    if len(headings) > 1:
        yield Problem(page, _name(headings[1]), f"{len(headings)} headings of the first level, want one")


@cache
def anchors(path: Path) -> frozenset[str]:
    """Every id and name of a page."""
    soup = parse(path)
    named = {_text(tag, "name") for tag in soup.find_all("a", attrs={"name": True})}
    return frozenset(named | {_text(tag, "id") for tag in soup.find_all(id=True)})


def parse(path: Path) -> BeautifulSoup:
    """The page as a tree."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def links(page: str, soup: BeautifulSoup, path: Path, root: Path) -> Iterator[Problem]:
    """Links, images and assets of the book itself whose file or anchor does not exist."""
    tags = [(tag, "href") for tag in soup.find_all(["a", "link"], href=True)]
    tags += [(tag, "src") for tag in soup.find_all(["img", "script", "source", "iframe"], src=True)]
    for tag, key in tags:
        address = _text(tag, key)
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = _target(path, root, unquote(parts.path))
        if not target.is_file():
            yield Problem(page, _name(tag), f"leads to {address}, which does not exist")
        elif not target.resolve().is_relative_to(root.resolve()):
            yield Problem(page, _name(tag), f"leads to {address}, outside the book")
        elif parts.fragment and target.suffix == ".html" and tag.name == "a":
            fragment = unquote(parts.fragment)
            if fragment not in anchors(target) and fragment != "top":
                yield Problem(page, _name(tag), f"leads to {address}, which has no such anchor")


def _target(path: Path, root: Path, address: str) -> Path:
    if not address:
        return path
    base = root / address.lstrip("/") if address.startswith("/") else path.parent / address
    return base / "index.html" if base.is_dir() else base


def duplicate_ids(page: str, soup: BeautifulSoup) -> Iterator[Problem]:
    """Ids that two elements share: a link then leads to the first only."""
    seen: set[str] = set()
    for tag in soup.find_all(id=True):
        if tag.find_parent("svg"):
            continue
        if _text(tag, "id") in seen:
            yield Problem(page, _name(tag), f"second element with the id {_text(tag, 'id')}")
        seen.add(_text(tag, "id"))


def check_page(path: Path, root: Path) -> list[Problem]:
    """All problems of one page below `root`."""
    page, soup = path.relative_to(root).as_posix(), parse(path)
    problems = [*outside_loads(page, soup), *links(page, soup, path, root)]
    refresh = soup.find("meta", attrs={"http-equiv": re.compile("^refresh$", re.IGNORECASE)})
    if isinstance(refresh, Tag):
        target = _text(refresh, "content").partition("url=")[2].strip()
        if not _target(path, root, target).is_file():
            problems.append(Problem(page, _name(refresh), f"sends to {target}, which does not exist"))
        return problems
    problems += [*structure(page, soup), *images(page, soup), *duplicate_ids(page, soup)]
    return [*problems, *rendering(page, soup)]  # last: it takes the code out of the tree


def check_styles(root: Path) -> list[Problem]:
    """Style sheets that import or show something from another host."""
    return [
        Problem(path.relative_to(root).as_posix(), "url()", f"loads {address} from another host")
        for path in sorted(root.rglob("*.css"))
        for address in _outside(path.read_text(encoding="utf-8", errors="replace"), IN_STYLE)
    ]


def check(root: Path) -> tuple[list[Path], list[Problem]]:
    """Pages read and problems found in a built book."""
    pages = sorted(p for p in root.rglob("*.html") if not p.relative_to(root).parts[0].startswith("_"))
    return pages, [problem for page in pages for problem in check_page(page, root)] + check_styles(root)


def main(arguments: Iterable[str] | None = None) -> int:
    """Check the folder named on the command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1:
        print("usage: python -m tools.page_gate FOLDER", file=sys.stderr)
        return 2
    root = Path(given[0])
    pages, problems = check(root) if root.is_dir() else ([], [])
    if not pages:
        print(f"page gate: {root} holds no built page; build the book first (make html)", file=sys.stderr)
        return 2
    for problem in problems:
        print(problem)
    print(f"page gate: {len(pages)} pages, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
