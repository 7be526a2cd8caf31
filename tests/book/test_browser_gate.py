"""The browser gate: its parts without a browser, and a book with one of every fault where a browser is at hand."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from tools import browser_gate


def test_serves_the_book_and_nothing_else(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "secret.txt").write_text("no")
    (tmp_path / "book" / "page.html").write_text("hello")
    with browser_gate.serve(tmp_path / "book") as address:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address + "page.html") as answer:
            assert answer.read() == b"hello"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(address + "../secret.txt")
        caught.value.close()


def test_visits_every_page_but_the_one_that_sends_on(tmp_path):
    for name in ("index.html", "search.html", "book/intro.html", "_static/part.html"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert browser_gate.find_pages(tmp_path) == ["book/intro.html", "search.html"]


def test_summary_has_a_line_for_each_page_and_each_problem():
    report = {"math": 2, "images": 1}
    reports = [
        report | {"page": "a.html", "mode": "light", "problems": []},
        report | {"page": "a.html", "mode": "dark", "problems": ["no theme", "no theme"]},
        report | {"page": "b.html", "mode": "light", "problems": []},
    ]
    lines, count = browser_gate.summarise(reports)
    assert count == 1
    assert lines == [
        "FAIL a.html: light, dark; 2 formulas, 1 images",
        "     dark: no theme",
        "ok   b.html: light; 2 formulas, 1 images",
    ]


def test_says_what_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert browser_gate.main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    for name in ("Chromium", "Node.js", "npm"):
        assert name in said


def test_nothing_to_visit_is_an_error(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(browser_gate, "missing_tools", lambda: [])
    monkeypatch.setattr(browser_gate, "install", lambda folder: None)
    assert browser_gate.main([str(tmp_path / "html")]) == 2
    assert "holds no built page" in capsys.readouterr().err


def test_dependencies_are_locked_with_digests():
    package = json.loads((browser_gate.SOURCES / "package.json").read_text())
    lock = json.loads((browser_gate.SOURCES / "package-lock.json").read_text())["packages"]
    for name, version in package["dependencies"].items():
        assert version[0].isdigit(), "an exact version, no range"
        assert lock[f"node_modules/{name}"]["version"] == version
        assert lock[f"node_modules/{name}"]["integrity"].startswith("sha512-")
    assert lock[""]["dependencies"] == package["dependencies"]


INSTALLED = (browser_gate.ROOT / "_build" / "browser" / "node_modules" / ".installed").is_file()
PAGE = """<!DOCTYPE html><html lang="en"><head><title>A page</title><link rel="icon" href="data:,"><script>
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
</script></head><body><main><article><h1>Heading</h1>INSERT</article></main></body></html>"""
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAA"
    "DUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FINE = f"""<p>Text, and a <a href="folded.html">link</a>.</p><img src="{DOT}" alt="a dot">
<ul id="search-results"><li>found</li></ul>
<div style="overflow-x:auto" tabindex="0"><p style="width:600px">wide</p></div>"""
PALE = '<p style="color:#bbb;background:#fff">pale</p>'
# Each with what is said of it.
FAULTS = {
    '<img src="http://example.org/a.png" alt="a">': "outside request: http://example.org/a.png",
    '<img src="a.png" alt="a">': "answer 404: ",
    '<img src="b.png" alt="b">': "image did not load: ",
    "<script>console.error('broken')</script>": "console error: broken",
    "<script>throw new Error('thrown')</script>": "page error: thrown",
    f'<img src="{DOT}">': "image without alt text",
    PALE: "axe color-contrast (serious)",
    '<input type="text">': "axe label (critical)",
    '<p style="width:600px">wide</p>': "page is 6",
    '<span class="math notranslate">\\(x\\)</span>': "formula not rendered: \\(x\\)",
    '<mjx-merror data-mjx-error="Missing brace">x</mjx-merror>': "formula with an error: Missing brace",
    '<p><mjx-container><mjx-mtext style="color:red">\\nosuch</mjx-mtext></mjx-container></p>': "unknown macro: ",
    "<script>document.documentElement.dataset.theme = 'blue'</script>": "theme is blue",
}


@pytest.mark.skipif(
    bool(browser_gate.missing_tools()) or not INSTALLED,
    reason="no browser, or no packages for it (python -m tools.browser_gate --install)",
)
def test_finds_every_fault_and_no_other(tmp_path):
    html = tmp_path / "html"
    html.mkdir()
    pages = {
        "fine.html": FINE,
        "faults.html": "".join(FAULTS),
        "folded.html": f"<details><summary>More</summary>{PALE}</details>",
    }
    for name, body in (pages | {"index.html": FINE, "search.html": FINE}).items():
        (html / name).write_text(PAGE.replace("INSERT", body), encoding="utf-8")
    work, screens = browser_gate.ROOT / "_build" / "browser", tmp_path / "screens"
    reports = browser_gate.visit(html, work, screens, list(pages), "heart")

    found = {(report["page"], report["mode"]): report["problems"] for report in reports}
    for fault, said in FAULTS.items():
        modes = {mode for mode in ("light", "dark", "phone") if any(said in p for p in found["faults.html", mode])}
        assert modes == ({"phone"} if said == "page is 6" else {"light", "dark", "phone"}), fault
    for mode in ("light", "dark", "phone"):
        assert found["fine.html", mode] == []
        (problem,) = found["folded.html", mode]
        assert "axe color-contrast" in problem
    assert found["search", "light"] == found["index.html", "light"] == []
    assert len(list(screens.glob("*.png"))) == 3 * len(pages)
