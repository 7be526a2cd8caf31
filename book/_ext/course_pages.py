"""What the pages of this book need beyond Sphinx: alt text on every image, no thebe, roles, a working single page,
chapters that carry the number of their file.

Sphinx reports every warning of this extension as an error, because the book is built with ``-W``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

logger = logging.getLogger(__name__)

# What sphinx-thebe 0.3.1 puts on every page, also where live code is off: one inline script that is emitted twice
# (the second raises "Identifier 'THEBE_JS_URL' has already been declared"), one script and one style sheet.
THEBE_FILES = ("sphinx-thebe.js", "sphinx-thebe.css")
THEBE_INLINE = "THEBE_JS_URL"
THEBE_CONFIGURATION = "text/x-thebe-config"  # names a repository that is not ours

# sphinx-exercise and sphinx-proof give every body the same id.
REPEATED_IDS = ("exercise-content", "solution-content", "proof-content")

CHAPTER = re.compile(r"notebooks/([0-9]{2})_")


def warn_without_alt(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Warn on each image, of the page's source or of a notebook's output, that has no alternative text."""
    for image in doctree.findall(nodes.image):
        if not str(image.get("alt", "")).strip():
            cell_metadata = '(in a notebook: cell metadata "mystnb": {"image": {"alt": "…"}})'
            logger.warning(
                "%s: image %s has no alt text %s",
                docname,
                image.get("uri", "?"),
                cell_metadata,
                location=image,
                type="course",
                subtype="alt",
            )


def drop_repeated_ids(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Take the fixed ids off the bodies of exercises, solutions and proofs: two on a page would share one id."""
    for section in doctree.findall(nodes.section):
        section["ids"] = [name for name in section["ids"] if name not in REPEATED_IDS]


def number_by_file_name(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Give each chapter the number that its file name begins with: a chapter that is not written yet leaves a gap.

    Runs after Sphinx has numbered the documents 1, 2, 3, …; returns those whose number changed.
    """
    changed = []
    for document, numbers in env.toc_secnumbers.items():
        begins = CHAPTER.match(document)
        if begins is None or not any(numbers.values()):
            continue
        chapter = int(begins[1])
        if any(number and number[0] != chapter for number in numbers.values()):
            changed.append(document)
        env.toc_secnumbers[document] = {anchor: _within(chapter, number) for anchor, number in numbers.items()}
        for node in (env.titles[document], *env.tocs[document].findall(nodes.reference)):
            if node.get("secnumber"):
                node["secnumber"] = _within(chapter, node["secnumber"])
    return changed


def _within(chapter: int, number: Sequence[int]) -> tuple[int, ...]:
    return (chapter, *number[1:]) if number else ()


def _is_thebe(asset: Any) -> bool:
    """True for the assets of sphinx-thebe; `asset` is a file name or one of Sphinx's asset objects."""
    name = str(getattr(asset, "filename", None) or asset)
    body = str(getattr(asset, "attributes", {}).get("body", ""))
    return THEBE_INLINE in body or name.split("?")[0].endswith(THEBE_FILES)


def drop_thebe_configuration(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Take the block that sphinx-thebe appends to every page out again."""
    for raw in list(doctree.findall(nodes.raw)):
        if THEBE_CONFIGURATION in raw.astext():
            raw.parent.remove(raw)


def drop_thebe(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Take the assets of sphinx-thebe off the page: live code needs two other hosts, and this book needs none."""
    for key in ("script_files", "css_files"):
        if key in context:
            context[key] = [asset for asset in context[key] if not _is_thebe(asset)]


def correct_roles(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Make the entries of a bibliography list items: docutils writes a role that no longer counts as one."""
    if context.get("body"):
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def complete_singlehtml(app: Sphinx) -> None:
    """Give the one-page builder the visitors of the html builder.

    Sphinx takes the visitors registered for ``singlehtml`` alone as soon as one extension registers any, and hidden
    notebook cells and exercises, which are registered for ``html``, then have none.
    """
    if app.builder.name == "singlehtml":
        handlers = app.registry.translation_handlers
        handlers["singlehtml"] = {**handlers.get("html", {}), **handlers.get("singlehtml", {})}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("env-get-updated", number_by_file_name, priority=900)
    app.connect("doctree-resolved", warn_without_alt)
    app.connect("doctree-resolved", drop_repeated_ids)
    app.connect("doctree-resolved", drop_thebe_configuration, priority=900)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", correct_roles, priority=900)
    app.connect("builder-inited", complete_singlehtml)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
