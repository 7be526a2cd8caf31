"""The glossary: sorted, without doubles, and every name it gives for the code exists."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.book.names import ROOT, code_names, resolve

PAGE = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
IN_THE_CODE = re.compile(r"\*In\s+the\s+code:\*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """The terms of one entry (the first and its synonyms) and its text."""

    terms: tuple[str, ...]
    text: str


def entries(page: str) -> list[Entry]:
    """The entries of the page's glossary: terms begin at the margin, their text is indented."""
    block = re.search(r"^```\{glossary\}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert block, "the page has no glossary"
    found = []
    for part in re.split(r"\n\s*\n", block[1].strip("\n")):
        lines = part.splitlines()
        terms = tuple(line for line in lines if not line.startswith(" "))
        assert lines[: len(terms)] == list(terms), f"a term stands below its text: {part}"
        found.append(Entry(terms, "\n".join(line.strip() for line in lines[len(terms) :])))
    return found


ENTRIES = entries(PAGE)


def test_every_entry_has_terms_and_a_text():
    assert len(ENTRIES) >= 45
    for entry in ENTRIES:
        assert entry.terms
        assert entry.text.endswith("."), entry.terms


def test_entries_are_sorted_as_a_reader_looks_them_up():
    first = [re.sub(r"[^a-z0-9]", "", entry.terms[0].casefold()) for entry in ENTRIES]
    assert first == sorted(first)


def test_no_term_stands_twice():
    terms = [term.casefold() for entry in ENTRIES for term in entry.terms]
    assert sorted({term for term in terms if terms.count(term) > 1}) == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.terms[0])
def test_names_in_the_code_exist(entry):
    stated = IN_THE_CODE.search(entry.text)
    if stated is None:
        assert code_names(entry.text) == [], "names of the package stand after *In the code:*"
        return
    names = code_names(stated[1])
    assert names, f"{entry.terms[0]} says where it is in the code and names nothing of the package"
    for name in names:
        resolve(name)


def test_most_entries_lead_into_the_code():
    assert sum(IN_THE_CODE.search(entry.text) is not None for entry in ENTRIES) >= 35


def test_both_sides_of_the_table_are_spoken_to():
    assert sum("*In machine learning:*" in " ".join(entry.text.split()) for entry in ENTRIES) >= 20


@pytest.mark.parametrize("name", ["cmr_course.coils.no_such", "cmr_course.no_such", "cmr_course.sampling.Mask.no_such"])
def test_a_name_that_does_not_exist_is_found_out(name):
    with pytest.raises(AttributeError, match="no_such"):
        resolve(name)
