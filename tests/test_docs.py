"""README, CONTRIBUTING and the manual name files that exist, and their links lead somewhere."""

import re

import pytest
from support.project import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN_BY_STAGES = (
    r"(tests/test_x|recipes/mine|metrics/|models/|data/(raw|tokenized|statistics)|reports/|plots/|mlruns/)"
)


def make_anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_there_are_the_pages_of_the_manual():
    assert len(PAGES) == 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    named = re.findall(r"`((?:stages|tests|benchmarks|recipes|docs)/[\w/.-]+\.\w+)`", page.read_text())
    assert not [path for path in named if not re.match(WRITTEN_BY_STAGES, path) and not (ROOT / path).is_file()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files_and_headings_that_exist(page):
    links = re.findall(r"(?:\]\(|src=\")(?!http)([^)\"#]*)(?:#([\w-]+))?", page.read_text())
    assert links or page.name in ("operations.md", "data.md")
    for path, anchor in links:
        target = (page.parent / path) if path else page
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in [make_anchor(heading) for heading in headings], f"{path}#{anchor}"


def test_the_readme_fits_on_two_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
