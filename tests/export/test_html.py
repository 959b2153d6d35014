"""HTML: pages that are complete in themselves, that hostile text neither breaks nor makes act, and that work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browsing
from exporting import session, written
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionctl.errors import SessionNotFound, UsageError
from sessionctl.export.formats import Format
from sessionctl.export.shelf import Layout, Shelf, Split
from sessionctl.testing.case import HOSTILE_IDS, HOSTILE_ITEMS, assistant, turn, user

OWNED = "document.title='owned'"
ATTACKS = [
    f"</div></article><script>{OWNED}</script>",
    f'<img src=x onerror="{OWNED}">',
    f"</title></style></script><svg onload={OWNED}>",
    "</pre></details></summary><style>body{display:none}</style>",
    '" onmouseover="alert(1)" x="',
    "&lt;b&gt;&amp;<!-- ]]>",
]
CALL = {"type": "function_call", "call_id": "c"}
HOSTILE = [
    *[user(attack) for attack in ATTACKS],
    *[assistant(attack) for attack in ATTACKS],
    *[item for attack in ATTACKS for item in (
        {**CALL, "name": attack, "arguments": f'{{"a": "{attack}"}}'},
        {"type": "function_call_output", "call_id": "c", "output": attack},
    )],
    *[{"type": attack, "role": attack, "status": attack} for attack in ATTACKS],
    *HOSTILE_ITEMS.values(),
    *ATTACKS,
]  # fmt: skip


class Outline(HTMLParser):
    """The elements of a page and the texts outside of style and script, as a browser's parser reads them."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)


def assert_sound(page: bytes) -> Outline:
    outline = Outline(page)
    assert outline.open == []
    assert (outline.tags.count("script"), outline.tags.count("style")) == (1, 1)
    assert not {"img", "svg", "iframe", "link", "object", "base"} & set(outline.tags)
    assert not {name for name in outline.attributes if name.startswith("on") or name in ("style", "src")}
    return outline


@pytest.mark.parametrize("session_id", [*ATTACKS, *HOSTILE_IDS.values(), ""])
def test_hostile_ids_and_items(session_id: str) -> None:
    outline = assert_sound(written(Format.HTML, session(session_id, HOSTILE)))
    assert "".join(outline.texts).count("<img src=x onerror=") >= 6


@given(st.lists(st.text(st.characters(codec="utf-8")) | st.text("<>&\"'/-!a= ")))
@settings(max_examples=50)
def test_any_text(texts: list[str]) -> None:
    assert_sound(written(Format.HTML, session("s", [*texts, *map(user, texts), *map(assistant, texts)])))


def test_a_page_is_for_one_session() -> None:
    with pytest.raises(UsageError, match="one session"):
        written(Format.HTML, session("a", []), session("b", []))
    with pytest.raises(SessionNotFound, match="no session"):
        written(Format.HTML)


def pages(directory: Path, *sessions: Any) -> list[Path]:
    with Shelf(Layout(place=directory, format=Format.HTML, split=Split.SESSION)) as shelf:
        for each in sessions:
            shelf.add(each)
    return sorted(directory.iterdir())


def test_the_index_leads_to_every_page(tmp_path: Path) -> None:
    ids = [*HOSTILE_IDS.values(), *ATTACKS, ""]
    found = pages(tmp_path, *[session(each, turn(1)) for each in ids])
    index = (tmp_path / "index.html").read_bytes()
    outline = assert_sound(index)
    assert len(found) == len(ids) + 1
    assert outline.tags.count("a") == len(ids)
    from urllib.parse import unquote

    links = [unquote(link) for link in re.findall(r'href="\./([^"]*)"', index.decode())]
    assert sorted(links) == sorted(path.name for path in found if path.name != "index.html")


def test_one_page_needs_no_index(tmp_path: Path) -> None:
    assert [path.name for path in pages(tmp_path, session("a", turn(1)))] == ["a.html"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as found:
        yield found


class TestInABrowser:
    @pytest.fixture
    def page(self, tmp_path: Path, browser: Browser) -> Browser:
        items = [item for number in range(50) for item in turn(number)]
        [path] = pages(tmp_path, session("long", [*items, *HOSTILE]))
        browser.open(path)
        return browser

    def test_hostile_text_does_nothing(self, page: Browser) -> None:
        assert page.run("document.title") == "long"
        assert page.run("document.querySelectorAll('script, style').length") == 2
        assert page.run("getComputedStyle(document.body).display") == "block"
        assert page.complaints() == []
        assert [url.partition(":")[0] for url in page.requests()] == ["file"]

    def test_search(self, page: Browser) -> None:
        shown = "[...document.querySelectorAll('.item:not([hidden])')]"
        every = page.run(f"{shown}.length")
        self.search(page, '"N": 17')
        assert page.run(f"{shown}.map(item => item.querySelector('details').open)") == [True]
        assert page.run("document.querySelectorAll('.turn:not([hidden])').length") == 1
        assert page.run("document.querySelector('output').textContent") == f"1 of {every}"
        assert page.run("CSS.highlights.get('found').size") == 1
        self.search(page, "")
        assert page.run(f"{shown}.length") == every
        assert page.run("document.querySelectorAll('details[open]').length") == 0
        self.search(page, "no such words")
        assert page.run(f"{shown}.length") == 0

    def test_what_is_folded_says_how_it_begins(self, page: Browser) -> None:
        """Shown, but no text of the page: it is found and copied once."""
        brief = page.run("getComputedStyle(document.querySelector('.tool summary'), '::after').content")
        assert "{" in brief
        assert page.run("document.querySelector('.tool summary').textContent").count("{") == 0

    def test_unfolding(self, page: Browser) -> None:
        assert page.run("document.querySelectorAll('details[open]').length") == 0
        page.run("document.querySelector('button').click()")
        assert page.run("document.querySelectorAll('details:not([open])').length") == 0
        assert page.run("document.querySelectorAll('details').length") >= 50

    def test_light_and_dark(self, page: Browser) -> None:
        for scheme in ("light", "dark"):
            page.prefer(scheme)
            assert page.run(CONTRAST) >= 4.5, scheme

    def test_narrow_and_wide_pages_do_not_scroll_sideways(self, page: Browser) -> None:
        page.run("document.querySelector('button').click()")
        for width in (360, 1400):
            page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
            assert page.run("document.documentElement.scrollWidth") <= width
        page.call("Emulation.clearDeviceMetricsOverride")

    @staticmethod
    def search(page: Browser, words: str) -> None:
        """Type, and wait for the page to have answered: it waits a little for the next letter itself."""
        page.run(
            "new Promise(done => { const box = document.querySelector('input'); box.value = "
            f"{words!r}; box.dispatchEvent(new Event('input')); setTimeout(done, 150); }})"
        )


CONTRAST = """
(() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map((c) => c / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    const color = getComputedStyle(node).backgroundColor;
    return color === "rgba(0, 0, 0, 0)" ? ground(node.parentElement) : color;
  };
  const ratios = [...document.querySelectorAll("b, .facts, .said, pre, .note, h1, dt, summary, footer")].map((node) => {
    const [one, other] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
    return (one + 0.05) / (other + 0.05);
  });
  return Math.min(...ratios);
})()
"""
