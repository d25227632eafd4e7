"""README, CONTRIBUTING and the manual name files that exist, and their links lead somewhere."""

import re

import pytest
from support.project import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = {"recipes/mine.yaml"}  # names of files that a user may write
FILE = re.compile(r"`((?:stages|tests|benchmarks|recipes|docs|examples)/[\w/.-]+\.\w+)`")
LINK = re.compile(r"(?:\]\(|src=\")(?!http)([^)\"#]*)(?:#([\w-]+))?")


def make_anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_there_are_pages_with_links_and_files():
    texts = [page.read_text() for page in PAGES]
    assert len(texts) == 13
    assert sum(len(LINK.findall(text)) for text in texts) > 30
    assert sum(len(FILE.findall(text)) for text in texts) > 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    assert not [path for path in FILE.findall(page.read_text()) if path not in EXAMPLES and not (ROOT / path).is_file()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files_and_headings_that_exist(page):
    for path, anchor in LINK.findall(page.read_text()):
        target = (page.parent / path) if path else page
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in [make_anchor(heading) for heading in headings], f"{path}#{anchor}"


def test_the_readme_has_at_most_120_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
