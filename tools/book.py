"""Lay out the book's sources in `_build/site` and build the HTML from there into `_build/html`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.environment import ROOT, CourseError, child_environment, scripts

# What the book is made of; whatever of it exists is copied.
SOURCES = ("_config.yml", "_toc.yml", "book", "notebooks", "results", "CHANGELOG.md", "LICENSE", "CITATION.cff")
LEFT_OUT = ("__pycache__", ".ipynb_checkpoints")


def lay_out(root: Path = ROOT, executed: Path | None = None) -> Path:
    """Copy the book's sources to `_build/site`; notebooks in `executed` replace those of the same name.

    The site is made anew each time, so that nothing of an earlier build is left. Training notebooks go along only
    where the table of contents names them.
    """
    site = root / "_build" / "site"
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    toc = (root / "_toc.yml").read_text(encoding="utf-8")
    left_out = LEFT_OUT if "notebooks/training/" in toc else (*LEFT_OUT, "training")
    for name in SOURCES:
        source = root / name
        if source.is_dir():
            skip = left_out if name == "notebooks" else LEFT_OUT
            shutil.copytree(source, site / name, ignore=shutil.ignore_patterns(*skip))
        elif source.exists():
            shutil.copy2(source, site / name)
    for notebook in sorted(executed.glob("*.ipynb")) if executed else []:
        if not (site / "notebooks" / notebook.name).exists():
            raise CourseError(f"{notebook} was executed, but there is no notebooks/{notebook.name}")
        shutil.copy2(notebook, site / "notebooks" / notebook.name)
    return site


def build(venv: Path, root: Path = ROOT, executed: Path | None = None) -> Path:
    """Build the HTML with every warning an error; return its folder, which is replaced only by a build that succeeds.

    Always from a clean output: Sphinx would keep pages and sidebars of an older table of contents, and would not
    repeat the warnings of a page that did not change.
    """
    site, work, html = lay_out(root, executed), root / "_build" / "work", root / "_build" / "html"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    command: list[str | Path] = [scripts(venv) / "jupyter-book", "build", site, "-W", "-n", "--keep-going"]
    command += ["--path-output", work]
    log = root / "_build" / "logs" / "html.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    variables = child_environment(venv, root) | {"NO_COLOR": "1"}
    with log.open("w", encoding="utf-8") as file:
        status = subprocess.run(command, cwd=site, env=variables, stdout=file, stderr=file, check=False).returncode
    built = work / "_build" / "html"
    if status or not (built / "index.html").exists():
        raise CourseError(f"{complaints(log)}\nthe book did not build, see above (all of it: {log})")
    shutil.rmtree(html, ignore_errors=True)
    built.replace(html)
    shutil.rmtree(work)
    return html


def complaints(log: Path) -> str:
    """The lines of Sphinx's log that say what is wrong, or its end where none does."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    wrong = [line for line in lines if any(word in line for word in ("WARNING", "ERROR", "Error:", "Exception"))]
    return "\n".join(wrong or lines[-25:])
