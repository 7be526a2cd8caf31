"""The keys of the book's configuration that its pages depend on, each with what happens without it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
SPHINX = CONFIG["sphinx"]["config"]
STATIC = ROOT / "book" / "_static"


def toc_files() -> list[str]:
    return [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


@pytest.mark.parametrize("name", toc_files())
def test_every_page_of_the_toc_exists_once(name):
    found = [path for path in (ROOT / f"{name}.md", ROOT / f"{name}.ipynb") if path.is_file()]
    assert len(found) == 1


def test_every_page_and_chapter_is_in_the_toc():
    sources = [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("[0-9]*.ipynb")]
    assert {path.relative_to(ROOT).with_suffix("").as_posix() for path in sources} == set(toc_files())


def test_chapters_stand_in_the_order_of_their_numbers():
    chapters = [Path(name).name for name in toc_files() if name.startswith("notebooks/")]
    assert chapters == sorted(chapters)
    (numbered,) = (part for part in TOC["parts"] if part.get("numbered"))
    numbers = [int(Path(chapter["file"]).name[:2]) for chapter in numbered["chapters"]]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) == 1


@pytest.mark.parametrize(
    ("keys", "wanted", "otherwise"),
    [
        (("execute", "execute_notebooks"), "off", "the build runs every notebook"),
        (("only_build_toc_files",), True, "stray pages are built"),
        (("sphinx", "recursive_update"), True, "html_theme_options replace the theme's own"),
        (("sphinx", "config", "html_theme_options", "navbar_persistent"), [], "a second search bar appears"),
        (("sphinx", "config", "nb_ipywidgets_js"), {}, "widget metadata pulls scripts from other hosts"),
        (("sphinx", "config", "nb_merge_streams"), True, "printed lines fall into several boxes"),
        (("sphinx", "config", "html_context", "default_mode"), "auto", "every page logs an invalid theme mode"),
        (("sphinx", "config", "html_last_updated_fmt"), None, "the same sources give other bytes tomorrow"),
        (("sphinx", "config", "mathjax_path"), "mathjax/tex-chtml.js", "MathJax comes from another host"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else None,
)
def test_keys_that_must_stay(keys, wanted, otherwise):
    value = CONFIG
    for key in keys:
        assert key in value, otherwise
        value = value[key]
    assert value == wanted, otherwise


def test_what_is_not_the_book_is_not_read():
    assert {"_build", ".venv", "**/.ipynb_checkpoints", "tests", "cmr_course"} <= set(CONFIG["exclude_patterns"])


def test_no_address_is_invented():
    """Launch and repository buttons need the address of a repository, and there is none yet."""
    assert "repository" not in CONFIG
    assert "launch_buttons" not in CONFIG
    assert not re.search(r"https?://", (ROOT / "_config.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [CONFIG["logo"], CONFIG["html"]["favicon"], *CONFIG["bibtex_bibfiles"]])
def test_files_that_the_configuration_names_exist(name):
    assert (ROOT / name).is_file()


def test_style_sheets_exist():
    assert SPHINX["html_static_path"] == ["book/_static"]
    for name in SPHINX["html_css_files"]:
        assert (STATIC / name).is_file()


@pytest.mark.parametrize(("extension", "folder"), CONFIG["sphinx"]["local_extensions"].items())
def test_local_extensions_exist(extension, folder):
    assert (ROOT / folder / f"{extension}.py").is_file()


def test_mathjax_is_complete_and_licensed():
    folder = STATIC / "mathjax"
    assert (STATIC / SPHINX["mathjax_path"]).stat().st_size > 1_000_000
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    fonts = {path.name for path in (folder / "output/chtml/fonts/woff-v2").glob("*.woff")}
    script = (folder / "tex-chtml.js").read_text(encoding="utf-8")
    needed = set(re.findall(r"%%URL%%/(MathJax_[\w-]+\.woff)", script))
    assert len(needed) > 15
    assert needed - fonts == set()
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2_000_000


def test_notebooks_use_no_macro_of_the_book():
    """JupyterLab renders them as well, and knows only plain TeX."""
    macros = SPHINX["mathjax3_config"]["tex"]["macros"]
    used = re.compile(r"\\\\(" + "|".join(macros) + r")(?![A-Za-z])")
    notebooks = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    found = {path.name: used.findall(path.read_text(encoding="utf-8")) for path in notebooks}
    assert {name: names for name, names in found.items() if names} == {}
    assert used.search('"\\\\argmin_x"')
