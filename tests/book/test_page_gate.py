"""The static page gate lets a good page pass and names each thing that is wrong with a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import page_gate

GOOD = """<!DOCTYPE html>
<html lang="en"><head><title>A page</title>
<link rel="stylesheet" href="_static/style.css"><link rel="canonical" href="https://example.org/page.html">
<script src="_static/script.js?v=1"></script><script>const address = "https://example.org/"; setUp(address);</script>
</head><body><article><h1>Heading<a href="#top-of-page">#</a></h1>
<p id="top-of-page"><a href="https://example.org/">elsewhere</a> <a href="other.html#there">here</a>
<a href="other.html">{{more}}</a></p>
<img src="_images/heart.png" alt="a heart"><img src="data:image/png;base64,iVBOR,w0KGgo=" alt="inline">
<pre>x = f"{{{y}}}"  # ```{note}``` in code</pre>
<div class="cell_output"><div class="output"><pre>fine</pre></div></div>
INSERT</article></body></html>
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    for folder in ("_static", "_images"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_static" / "style.css").write_text("body { background: url(paper.png) } /* https://example.org */")
    (tmp_path / "_static" / "script.js").write_text("")
    (tmp_path / "_images" / "heart.png").write_bytes(b"")
    write(tmp_path, "index.html", '<meta http-equiv="Refresh" content="0; url=page.html" />', whole=True)
    write(tmp_path, "other.html", '<p id="there">there</p>')
    write(tmp_path, "page.html", "")
    return tmp_path


def write(book: Path, name: str, text: str, *, whole: bool = False) -> None:
    page = text if whole else GOOD.replace("{{more}}", "more").replace("INSERT", text)
    (book / name).write_text(page, encoding="utf-8")


def test_good_pages_pass(book, capsys):
    assert page_gate.main([str(book)]) == 0
    assert capsys.readouterr().out == "page gate: 3 pages, 0 problems\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<script src="https://cdn.example.org/x.js"></script>', "loads https://cdn.example.org/x.js"),
        ('<script src="//cdn.example.org/x.js"></script>', "loads //cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="https://example.org/x.css">', "loads https://example.org/x.css"),
        ('<link rel="preload" as="font" href="http://example.org/f.woff">', "loads http://example.org/f.woff"),
        ('<img alt="a heart" src="https://example.org/heart.png">', "loads https://example.org/heart.png"),
        ('<img alt="a" src="_images/heart.png" srcset="_images/heart.png 1x, //example.org/h.png 2x">', "another host"),
        ('<iframe src="https://example.org/film"></iframe>', "loads https://example.org/film"),
        ("<style>@import 'https://example.org/x.css';</style>", "loads https://example.org/x.css"),
        ('<p style="background: url(//example.org/p.png)">x</p>', "loads //example.org/p.png"),
        ('<script>import("https://example.org/x.mjs").then(f)</script>', "loads https://example.org/x.mjs"),
        ('<script type="module">import x from "https://example.org/x.mjs"</script>', "loads https://example.org/x.mjs"),
        ('<script>fetch("https://example.org/data.json")</script>', "loads https://example.org/data.json"),
        ('<script>s.src = "https://example.org/x.js"</script>', "loads https://example.org/x.js"),
        ('<img src="_images/heart.png">', "has no alt text"),
        ('<img src="_images/heart.png" alt=" ">', "has no alt text"),
        ('<img src="_images/heart.png" alt="_images/heart.png">', "has its file name for alt text"),
        ('<img src="_images/lung.png" alt="a lung">', "leads to _images/lung.png, which does not exist"),
        ('<a href="missing.html">x</a>', "leads to missing.html, which does not exist"),
        ('<a href="other.html#nowhere">x</a>', "leads to other.html#nowhere, which has no such anchor"),
        ('<a href="#nowhere">x</a>', "leads to #nowhere, which has no such anchor"),
        ('<a href="../outside.html">x</a>', "outside.html"),
        ("<p>{{ substitution }}</p>", "unrendered substitution"),
        ("<p>```{note} text```</p>", "unrendered directive"),
        ("<p>:::{note}</p>", "unrendered directive"),
        ("<p>see {ref}`label`</p>", "unrendered role"),
        ("<p>:class: dropdown</p>", "unrendered option"),
        ('<div class="output"><pre>Traceback (most recent call last)\n x</pre></div>', "Python traceback"),
        ('<span class="problematic">:func:`x`</span>', "Sphinx could not render"),
        ("<h1>Second</h1>", "2 headings of the first level"),
        ('<p id="top-of-page">again</p>', "second element with the id top-of-page"),
    ],
)
def test_bad_pages_are_named(book, capsys, text, said):
    write(book, "page.html", text)
    assert page_gate.main([str(book)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2, lines
    assert lines[0].startswith("page.html: <")
    assert said in lines[0]
    assert lines[1] == "page gate: 3 pages, 1 problems"


@pytest.mark.parametrize(
    ("there", "instead", "said"),
    [
        ('<html lang="en">', "<html>", "has no lang attribute"),
        ("<title>A page</title>", "<title></title>", "has no title"),
        ("<h1>", "<h2>", "has no h1"),
    ],
)
def test_every_page_has_language_title_and_heading(book, capsys, there, instead, said):
    page = book / "page.html"
    page.write_text(page.read_text(encoding="utf-8").replace(there, instead), encoding="utf-8")
    assert page_gate.main([str(book)]) == 1
    assert said in capsys.readouterr().out


def test_style_sheets_load_nothing_from_outside(book, capsys):
    (book / "_static" / "style.css").write_text('@import url("https://example.org/font.css");')
    assert page_gate.main([str(book)]) == 1
    assert "_static/style.css: url(): loads https://example.org/font.css from another host" in capsys.readouterr().out


def test_a_front_page_that_leads_nowhere_is_found(book, capsys):
    write(book, "index.html", '<meta http-equiv="refresh" content="0; url=gone.html" />', whole=True)
    assert page_gate.main([str(book)]) == 1
    assert "sends to gone.html, which does not exist" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["no/such/folder"]])
def test_nothing_to_read_is_an_error_of_its_own(arguments, capsys):
    assert page_gate.main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
