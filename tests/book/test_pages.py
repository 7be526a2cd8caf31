"""The pages of prose: what they name exists, what they claim is so."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
import yaml

import cmr_course
from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.encoding import Encoding
from cmr_course.fourier import fft2c
from cmr_course.losses import EagleLoss, EdgeLoss
from cmr_course.networks import DataConsistency
from cmr_course.sampling import kt_uniform, uniform
from tests.book.names import PROSE, ROOT, code_names, resolve, table_rows

BESIDE = [page for page in PROSE if page.parent == ROOT]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PAPERS = (ROOT / "book" / "papers_against_code.md").read_text(encoding="utf-8")
NOTATION = (ROOT / "book" / "notation.md").read_text(encoding="utf-8")
BIBLIOGRAPHY = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|Users)/")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# ------------------------------------------------------------------------------------------------------ every page


@pytest.mark.parametrize("page", PROSE, ids=page_id)
def test_names_of_the_package_exist(page):
    for name in code_names(page.read_text(encoding="utf-8")):
        resolve(name)


@pytest.mark.parametrize("page", PROSE, ids=page_id)
def test_links_to_files_lead_somewhere(page):
    targets = [t.split("#")[0] for t in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in t]
    missing = [t for t in targets if t and not (page.parent / unquote(t)).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PROSE, ids=page_id)
def test_no_page_names_a_machine(page):
    assert MACHINE.findall(page.read_text(encoding="utf-8")) == []


def test_commands_that_pages_name_are_there():
    from tools.commands import HELP

    text = "\n".join(page.read_text(encoding="utf-8") for page in PROSE)
    # In backticks and in code blocks: `make book`, make PYTHON=python3.12 test, python -m tools.course book
    named = re.findall(r"(?:^|`)make (?:[A-Z_]+=\S+ )*([a-z][a-z-]*)", text, re.MULTILINE)
    named += re.findall(r"python -m tools\.course ([a-z][a-z-]*)", text)
    assert {"book", "test", "notebooks"} <= set(named)
    assert set(named) - set(HELP) == set()


@pytest.mark.parametrize("page", PROSE, ids=page_id)
def test_command_lines_that_pages_show_are_understood(page):
    from cmr_course.__main__ import parser

    shown = re.findall(r"^cmr-course .*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    for line in shown:
        parser().parse_args(shlex.split(line, comments=True)[1:])
    assert shown or page.name != "how_to_use.md"


@pytest.mark.parametrize("name", ["README.md", "book/intro.md", "CITATION.cff"])
def test_a_reader_is_told_that_this_is_not_for_the_clinic(name):
    assert "not for clinical use" in " ".join(read(name).split())


# ------------------------------------------------------------------------------------------------ beside the book


def test_the_picture_of_the_readme():
    picture = re.search(r"!\[([^\]]+)\]\(([^)]+)\)", read("README.md"))
    assert picture, "the README shows no picture"
    assert len(picture[1]) > 40, "its alt text says what is seen"
    assert (ROOT / picture[2]).stat().st_size <= 200_000


def test_the_readme_loads_nothing_from_another_host():
    assert re.findall(r"!\[[^\]]*\]\(\w+://|<img", read("README.md")) == []


def test_licences_are_told_apart():
    assert read("LICENSE").startswith("MIT License\n\nCopyright (c) ")
    assert "Creative Commons" not in read("LICENSE")  # or no tool recognises it
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in read("LICENSE-CC-BY-4.0.md")


def test_citation_is_complete_and_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type", "license"} <= set(citation)
    assert citation["version"] == cmr_course.__version__
    assert citation["license"] == ["MIT", "CC-BY-4.0"]


def test_changelog_speaks_of_this_version():
    headings = re.findall(r"^## \[([^\]]+)\](.*)$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0][0] == "Unreleased"
    newest = headings[1][0] if len(headings) > 1 else None
    assert newest == cmr_course.__version__ or f"be {cmr_course.__version__}" in read("CHANGELOG.md")


# -------------------------------------------------------------------------------------------------- bibliography

REQUIRED = {
    "article": {"title", "author", "journal", "year"},
    "inproceedings": {"title", "author", "booktitle", "year"},
    "unpublished": {"title", "author", "note", "year"},
    "misc": {"title", "author", "howpublished", "year", "url"},
}
ENTRY = re.compile(r"^@(\w+)\{([^,]+),\n(.*?)^\}", re.DOTALL | re.MULTILINE)
REFERENCES = {
    key: (kind, dict(re.findall(r"^  (\w+)\s*= \{(.*?)\},?$", body, re.DOTALL | re.MULTILINE)))
    for kind, key, body in ENTRY.findall(BIBLIOGRAPHY)
}


@pytest.mark.parametrize("key", REFERENCES)
def test_references_are_complete(key):
    kind, fields = REFERENCES[key]
    assert REQUIRED[kind] - set(fields) == set()
    assert re.fullmatch(r"(19|20)\d\d", fields["year"])
    assert fields["year"] in key
    assert re.fullmatch(r"10\.\d{4,}/\S+", fields.get("doi", "10.0000/none"))


def test_no_work_is_listed_twice():
    assert len(REFERENCES) == BIBLIOGRAPHY.count("\n@")
    dois = [fields["doi"].casefold() for _, fields in REFERENCES.values() if "doi" in fields]
    assert len(dois) == len(set(dois))


# ------------------------------------------------------------------------------------------------------ notation


def test_a_symbol_means_one_thing():
    symbols = [row[0] for row in table_rows(NOTATION, "symbol")]
    assert len(symbols) > 25
    assert sorted({symbol for symbol in symbols if symbols.count(symbol) > 1}) == []


def test_every_symbol_is_explained_and_most_lead_into_the_code():
    rows = table_rows(NOTATION, "symbol")
    assert all(len(row) == 3 and row[1] for row in rows)
    in_code = [row[2] for row in rows if row[2] != "–"]
    assert len(in_code) >= 20
    for cell in in_code:
        assert re.fullmatch(r"`[\w.]+`", cell)
        resolve(f"cmr_course.{cell.strip('`')}")


# --------------------------------------------------------------------------------------------- papers against code


def findings(page: str) -> dict[str, dict[str, str]]:
    """Of each finding, by its heading: where, said, found, test."""
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    found = {}
    for heading, _, body in (section.partition("\n") for section in sections):
        parts = dict(re.findall(r"^(where|said|found|test)\n: (.*?)(?=\n\n|\Z)", body, re.DOTALL | re.MULTILINE))
        if parts:
            found[heading] = {name: " ".join(text.split()) for name, text in parts.items()}
    return found


FINDINGS = findings(PAPERS)


def has_function(path: str, name: str) -> bool:
    """Whether the file at `path` has a function `name` at its top level."""
    if not (ROOT / path).is_file():
        return False
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body)


@pytest.mark.parametrize("heading", FINDINGS)
def test_every_finding_has_a_test(heading):
    finding = FINDINGS[heading]
    assert list(finding) == ["where", "said", "found", "test"]
    named = re.findall(r"`(\w+)` in `(tests/[\w/]+\.py)`", finding["test"])
    assert named
    for name, path in named:
        assert has_function(path, name), f"{path} has no {name}"


def test_a_test_that_does_not_exist_is_found_out():
    assert has_function("tests/book/test_pages.py", "test_every_finding_has_a_test")
    assert not has_function("tests/book/test_pages.py", "test_no_such_thing")
    assert not has_function("tests/book/no_such_file.py", "test_no_such_thing")


def test_twenty_of_28_lines_leave_little_to_accelerate():
    masks = [uniform(28, acceleration, acs=20) for acceleration in (2, 4)]
    lines = [int(mask.sampled.sum()) for mask in masks]
    assert lines == [24, 22]
    realised = [f"{mask.realised_acceleration:.2f}" for mask in masks]
    assert realised == ["1.17", "1.27"]
    assert "really {} and {}".format(*realised) in FINDINGS["A hands-on with 28 lines"]["found"]


def test_challenge_bug_moves_lines_of_odd_series():
    def lines(frames: int, challenge_bug: bool) -> torch.Tensor:
        return kt_uniform(162, frames, 4, acs=0, challenge_bug=challenge_bug).sampled[0, :, 0, :, 0]

    assert torch.equal(lines(12, True), lines(12, False))  # an even series is as it was meant to be
    for frames in (3, 9):  # as many as T2 and T1 mapping have
        meant, made = lines(frames, False), lines(frames, True)
        assert torch.equal(made[:-1, 81:], meant[1:, :81])  # what was meant for the next frame
        assert torch.equal(made[1:, :81], meant[1:, 81:])
        assert not bool(made[-1, 81:].any())


def test_challenge_accelerations_are_nominal():
    realised = [f"{kt_uniform(246, 12, R, acs=16).realised_acceleration:.2f}" for R in (4, 8, 16, 24)]
    assert realised == ["3.35", "5.49", "8.07", "9.62"]
    assert "really {}, {}, {} and {}".format(*realised) in FINDINGS["Masks of CMRxRecon2024: what 24 means"]["found"]


def test_a_noise_level_of_a_tenth_keeps_nine_percent(generator):
    network, true = torch.randn(2, 1, 2, 8, 6, dtype=torch.complex128, generator=generator)
    everything = Encoding(
        torch.ones(1, 1, 1, 8, 6, dtype=torch.complex128), torch.ones(1, 1, 1, 8, 1, dtype=torch.bool)
    )
    measured = everything.adjoint(everything.forward(true))
    kept = {trust: DataConsistency(trust)(network, everything, measured) for trust in (0.0, 0.1, None)}
    torch.testing.assert_close(kept[0.1], network + (true - network) / 11)
    torch.testing.assert_close(kept[0.0], network)
    torch.testing.assert_close(kept[None], true)
    assert f"keeps {100 / 11:.0f} %" in FINDINGS["A noise level that is a trust"]["found"]


def test_a_squared_error_in_kspace_is_the_one_in_the_image(generator):
    image, reference = torch.randn(2, 3, 4, 17, 22, dtype=torch.complex128, generator=generator)

    def squared_error(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().square().mean()

    in_image = squared_error(image, reference)
    released = 0.25 * squared_error(fft2c(image), fft2c(reference)) + 0.5 * in_image
    torch.testing.assert_close(released, 0.75 * in_image, rtol=1e-12, atol=0)


def test_edges_of_the_input_have_no_gradient(generator):
    seen, truth = torch.rand((2, 1, 3, 8, 8), generator=generator)
    weight = torch.tensor(1.1, requires_grad=True)  # a network: output = weight · input

    def of(image):
        error = Reconstruction(torch.complex(image - truth, torch.zeros_like(truth)))
        zero, bare = torch.zeros_like(error.image), Acquisition.fully_sampled(fft2c(error.image)[:, :, None])
        return EdgeLoss(alpha=1.0)(error, zero, bare)

    assert not of(seen).requires_grad
    (slope,) = torch.autograd.grad(of(weight * seen), weight)
    assert abs(float(slope)) > 1e-3


def test_a_share_of_edges_means_nothing_without_their_normalisation(generator):
    error = torch.rand((1, 3, 9, 8), generator=generator)
    found = Reconstruction(torch.complex(error, torch.zeros_like(error)))
    bare = Acquisition.fully_sampled(fft2c(found.image)[:, :, None])
    zero = torch.zeros_like(found.image)
    classic, derivative = (EdgeLoss(alpha=1.0, gain=gain)(found, zero, bare) for gain in (8.0, 1.0))
    assert float(classic / derivative) == pytest.approx(64)


def test_the_tricks_of_the_paper_are_below_their_baselines():
    """The numbers as the paper prints them: PSNR and its standard deviation."""
    after_500 = {"simple": 28.66, "complex": 31.12}
    after_300 = 30.311
    batch_norm = {"simple": 27.68, "complex": 30.91}
    assert after_300 - 28.74 == pytest.approx(1.57, abs=0.01)
    assert all(batch_norm[name] < after_500[name] for name in after_500)
    (psnr_adam, psnr_sgd), (ssim_adam, ssim_sgd) = (0.87, 0.48), (0.020, 0.076)
    assert psnr_sgd < psnr_adam
    assert ssim_sgd > ssim_adam


def test_cropping_a_padded_spectrum_drops_frequencies(generator):
    """Of the sizes that the paper gives; |F(-f)| = |F(f)|, so a frequency is dropped where both of the pair are."""
    dropped = {}
    for size in ((204, 448), (168, 448), (246, 512), (162, 512), (204, 512)):
        image = torch.rand(1, *size, dtype=torch.float64, generator=generator)
        whole, cut = (EagleLoss(standardised="none", cropped=c).pictures(image) for c in (False, True))
        y, x = cut.spectrum.shape[-2:]
        assert (y, x) == tuple(cut.variance.shape[-2:])
        torch.testing.assert_close(cut.spectrum, whole.spectrum[..., :y, :x])
        torch.testing.assert_close(whole.spectrum, whole.spectrum.flip((-2, -1)).roll((1, 1), (-2, -1)))
        kept = torch.zeros(whole.weights.shape, dtype=torch.bool)
        kept[:y, :x] = True
        mirrored = kept.flip((0, 1)).roll((1, 1), (0, 1))
        dropped[size] = 1 - float((kept | mirrored).double().mean())
    assert max(dropped, key=lambda size: dropped[size]) == (168, 448)
    found = FINDINGS["A cropped spectrum, and a batch of neighbours"]["found"]
    assert f"up to {100 * dropped[168, 448]:.0f} %" in found
    assert dropped[162, 512] == 0  # its map fills a power of two along y


def test_the_tables_of_hypercmr_disagree():
    """The numbers as the paper prints them, at 8 fold: SSIM and PSNR of six modalities, table 2 and table 1."""
    ssim = {
        "SSIM only": (0.7423, 0.8878, 0.8387, 0.8311, 0.8394, 0.9078),
        "without": (0.9155, 0.8890, 0.8497, 0.8457, 0.8422, 0.9205),
        "with": (0.9166, 0.8941, 0.8512, 0.8487, 0.8426, 0.9212),
        "table 1": (0.9162, 0.8880, 0.8512, 0.8475, 0.8404, 0.9212),
    }
    psnr = {
        "without": (33.92, 31.93, 30.69, 31.05, 30.27, 33.20),
        "with": (34.03, 32.18, 30.83, 31.12, 30.40, 33.38),
        "table 1": (33.98, 31.87, 30.83, 31.12, 30.22, 33.38),
    }
    overall = {name: round(sum(values) / 6, 4) for name, values in ssim.items()}
    assert overall == {"SSIM only": 0.8412, "without": 0.8771, "with": 0.8791, "table 1": 0.8774}
    found = FINDINGS["Two tables of one network"]["found"]
    for name, told in (("with", "+0.0020 SSIM and +0.15 dB"), ("table 1", "+0.0003 and +0.06 dB")):
        gain = sum(psnr[name]) / 6 - sum(psnr["without"]) / 6
        assert told.startswith(f"+{overall[name] - overall['without']:.4f}")
        assert told.endswith(f"+{gain:.2f} dB")
        assert told in found
    lower = [i for i in range(6) if ssim["table 1"][i] < ssim["without"][i]]
    assert lower == [i for i in range(6) if psnr["table 1"][i] < psnr["without"][i]] == [1, 4]  # mapping, black blood
    same = [i for i in range(6) if (ssim["with"][i], psnr["with"][i]) == (ssim["table 1"][i], psnr["table 1"][i])]
    assert same == [2, 5]  # cine and flow
    gains = [a - b for a, b in zip(ssim["with"], ssim["SSIM only"], strict=True)]
    assert f"{100 * gains[0] / sum(gains):.0f} % of what" in found
