"""The documentation names what there is: public names, and files that it links to."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import rxplus

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
ENTRY = re.compile(r"^### `(\w+)`$", re.MULTILINE)
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)[^)]*\)")


def api_entries() -> dict[str, str]:
    """Return the text of each entry of docs/api.md, by name, in order."""
    _, *parts = ENTRY.split((ROOT / "docs" / "api.md").read_text("utf-8"))
    return dict(zip(parts[::2], parts[1::2], strict=True))


def parameters(thing: Any) -> set[str]:
    """Return the parameters that a class or function of the API can be called with."""
    if not inspect.isfunction(thing) and not inspect.isclass(thing):
        return set()
    if thing is rxplus.Peer or issubclass(type(thing), type(rxplus.ConnectionState)):
        return set()  # not made by users
    try:
        names = set(inspect.signature(thing).parameters)
    except ValueError:  # an exception without arguments of its own
        return set()
    return names - {"args", "kwargs"}


def members(thing: Any) -> set[str]:
    """Return the public attributes that a class of the API adds to its bases."""
    names = vars(thing) if inspect.isclass(thing) else ()
    return {name for name in names if not name.startswith("_")}


def test_api_reference_has_an_entry_for_every_public_name() -> None:
    """docs/api.md describes exactly what rxplus exports, in the same order."""
    assert list(api_entries()) == rxplus.__all__


@pytest.mark.parametrize("name", rxplus.__all__)
def test_api_reference_names_parameters_and_members(name: str) -> None:
    """An entry names every parameter and every public attribute."""
    entry, thing = api_entries().get(name, ""), getattr(rxplus, name)
    wanted = parameters(thing) | members(thing)
    assert wanted - set(re.findall(r"\w+", entry)) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    """A relative link leads to a file that exists."""
    links = LINK.findall(page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
