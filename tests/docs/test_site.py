"""The documentation builds strictly, holds every key of the recipe, and asks nothing of other hosts."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify
from pydantic import BaseModel

from rlkit.recipe.schema import Recipe, RewardPartKeys
from rlkit.recipe.schema.stage_kinds import stage_key_classes
from tests.docs.pages import ROOT, prose_of


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built pages."""
    out = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", "--site-dir", out], cwd=ROOT, check=True
    )
    return out


def test_pages_ask_nothing_of_other_hosts(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(https?:[^\" >]+)", page.read_text())
        assert not loaded, f"{page.relative_to(site)} loads {loaded}"


def test_tables_show_no_escape_signs(site):
    for page in site.rglob("*.html"):
        assert not re.findall(r"<code>[^<]*\\\|[^<]*</code></td>", page.read_text()), page.relative_to(site)


def test_the_index_for_tools_names_every_page(site):
    index = (site / "llms.txt").read_text()
    named = re.findall(r"\]\(([^)]+)\)", index)
    assert all((site / path / "index.html").is_file() for path in named)
    assert len(named) == len(list((ROOT / "docs").rglob("*.md")))


def test_the_reference_holds_every_key(site):
    html = (site / "reference/index.html").read_text()
    models = [Recipe, RewardPartKeys, *stage_key_classes().values()]
    for model in models:
        for section, key in keys_of(model):
            assert f"<code>{key}</code>" in html, f"{section.__name__}.{key}"


def keys_of(model: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    for key, field in model.model_fields.items():
        if model is not Recipe:
            yield model, key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation)


def test_links_of_the_readme_lead_somewhere():
    for target, anchor in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", prose_of(ROOT / "README.md")):
        assert (ROOT / target).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", (ROOT / target).read_text(), re.MULTILINE)
            assert anchor in [slugify(heading, "-") for heading in headings], f"{target}#{anchor}"
