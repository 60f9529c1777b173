"""Whatever a platform says, clients get safe HTML, small events, and all of the words."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.matrix.text import MOST_BYTES, contents, rendered
from adapter.platform.base import Format, Message

# Copied from "m.room.message msgtypes" of the Matrix specification, 1.16; without `img`,
# `span`, `div` and others that Markdown has no use for.
TAGS = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote"),
    *("strong", "em", "s", "del", "code", "pre", "a", "ul", "ol", "li"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {("a", "href"), ("ol", "start"), ("code", "class")}
SCHEMES = {"https", "http", "ftp", "mailto", "magnet"}
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

Json = dict[str, object]


class Reader(HTMLParser):
    """Reads HTML as a client would, and fails at what the specification forbids."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.said = ""
        self.links: list[str] = []
        self.open: list[str] = []
        self.deepest = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        for name, value in attrs:
            assert (tag, name) in ATTRIBUTES
            assert value is not None
            if name == "href":
                assert urlsplit(value).scheme in SCHEMES
                self.links.append(value)
            elif name == "class":
                assert re.fullmatch(r"language-\S+", value)
            else:
                assert value.isdigit()
        if tag not in ("br", "hr"):
            self.open.append(tag)
            self.deepest = max(self.deepest, len(self.open))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    assert reader.deepest <= 100
    assert not DANGEROUS.search(reader.said + "".join(reader.links))
    return reader


def checked(message: Message, msgtype: str = "m.text") -> list[Json]:
    """The contents of `message`, each small, safe and mentioning nobody."""
    found = list(contents(message, msgtype))
    for content in found:
        body, html = content["body"], content.get("formatted_body")
        assert len(orjson.dumps(content)) <= MOST_BYTES < 60_000
        assert isinstance(body, str)
        assert body.strip()
        assert not DANGEROUS.search(body)
        assert content["m.mentions"] == {}
        assert content["msgtype"] == msgtype
        if html is None:
            assert content.keys() == {"msgtype", "body", "m.mentions"}
        else:
            assert message.format is Format.MARKDOWN
            assert content["format"] == "org.matrix.custom.html"
            assert isinstance(html, str)
            read(html)
    assert contents(message, msgtype) == tuple(found)
    return found


def markdown(text: str) -> list[Json]:
    return checked(Message(text, Format.MARKDOWN))


def bodies(found: list[Json]) -> str:
    return "".join(str(content["body"]) for content in found)


def squeezed(text: str) -> str:
    return "".join(text.split())


# Pieces of Markdown, HTML and mischief, to be put together in any order.
MARKS = r"""* ** _ __ ` ``` ~~~ ~~ # > - 1. | |-|- [ ] ]( ) ![ < > </ \ " ' = @room
<script> <img/onerror= <a/href=" <!-- --> <![CDATA[ &#x202e; &#0; &lt; &amp;#106; onclick
javascript: JaVa&#09;script: data:text/html, vbscript: https://a.hs mailto: //a.hs /a
mxc://a/b <https:a> [a]: style class= ```js ```"x"""
SPACES = ["\n", "\n\n", " ", "    ", "\t", "\r\n", "\r", "\u2028", "\x85"]
UNSEEN = ["\u202e", "\u2066", "\x00", "\x1b[2J", "\x7f", "\ud800", "\u200d"]
ODDS = st.sampled_from([*re.split(r"\s", MARKS), *SPACES, *UNSEEN])
HOSTILE = st.lists(ODDS | st.text(max_size=4), max_size=40).map("".join)


@given(HOSTILE)
@example("[a](javascript:alert(1))")
@example("[a](java&#10;script:alert(1))")
@example("[a](JAVASCRIPT&colon;alert(1))")
@example("<javascript:alert(1)>")
@example("<script>alert(1)</script>")
@example("![a](https://tracker.hs/pixel.png)")
@example('[a](https://a.hs "b\\" onclick=c")')
@example('```"onclick=x\na\n```')
@example("[a](//evil.hs)")
@example("a &#x202e; b &#x1b; c &#xd800; d")
@example("|a|\n|:-:|\n|b|")
def test_no_text_is_dangerous(text: str) -> None:
    """HTML holds only what the specification allows, whatever it was made from."""
    markdown(text)
    plain = checked(Message(text))
    assert all("formatted_body" not in content for content in plain)
    html = rendered(text.encode("utf-8", "replace").decode())
    if html is not None:
        read(html)


def test_what_markdown_means() -> None:
    """Words in Markdown look as meant, and the body keeps them as they were written."""
    text = "# A *word*\n\nline\nline\n\n3. x\n4. `y`\n\n|a|\n|-|\n|b|\n\n~~no~~"
    (content,) = markdown(text)
    assert content["body"] == text
    assert content["formatted_body"] == (
        "<h1>A <em>word</em></h1>\n<p>line<br>\nline</p>\n"
        '<ol start="3">\n<li>x</li>\n<li><code>y</code></li>\n</ol>\n'
        "<table>\n<thead>\n<tr>\n<th>a</th>\n</tr>\n</thead>\n"
        "<tbody>\n<tr>\n<td>b</td>\n</tr>\n</tbody>\n</table>\n<p><s>no</s></p>"
    )


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("[a](https://a.hs/?b=c&d)", '<p><a href="https://a.hs/?b=c&amp;d">a</a></p>'),
        ("[a](javascript:b)", None),
        ("[a](/b) c", "<p><a>a</a> c</p>"),
        ("<b>a</b>", None),
        ("<div>\na", "<p>&lt;div&gt;<br>\na</p>"),
        ("![a](https://b.hs/c)", '<p>!<a href="https://b.hs/c">a</a></p>'),
        (
            "```js\na < b\n```",
            '<pre><code class="language-js">a &lt; b\n</code></pre>',
        ),
        ('```a"b\nc\n```', "<pre><code>c\n</code></pre>"),
        ("a &amp; b", "<p>a &amp; b</p>"),
        ("a & b < c", None),
        ("[a]: https://b.hs", None),
    ],
)
def test_what_html_is_made(text: str, html: str | None) -> None:
    """HTML is there where it says more than the text, and shows raw HTML as text."""
    assert rendered(text) == html


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\u202e", "\r\n"])
def test_of_nothing_there_is_no_event(text: str, format_: Format) -> None:
    """A message of blanks, or of what is taken out, is not said."""
    assert contents(Message(text, format_)) == ()


def test_a_notice_is_a_notice() -> None:
    """The type of message is the caller's."""
    (content,) = checked(Message("*a*", Format.MARKDOWN), "m.notice")
    assert content["msgtype"] == "m.notice"


PARAGRAPHS = st.lists(
    st.text('ab *_`<&\n"\\\U0001f600', min_size=1, max_size=30).flatmap(
        lambda text: st.integers(1, 400).map(lambda n: text * n)
    ),
    min_size=1,
    max_size=8,
)


@given(PARAGRAPHS, st.sampled_from(Format))
@example(["\U0001f600" * 40_000], Format.MARKDOWN)
@example(['"' * 40_000], Format.PLAIN)
@example(["```" + "\U0001f600" * 7000 + "\n" + "\U0001f600" * 20_000], Format.MARKDOWN)
@example(["~" * 20 + "a" * 40 + "\n" + "\U0001f600" * 20_000], Format.MARKDOWN)
def test_a_long_message_is_cut_and_nothing_lost(
    paragraphs: list[str], format_: Format
) -> None:
    """All words arrive, in their order, in events that are small enough."""
    text = "\n\n".join(paragraphs)
    found = checked(Message(text, format_))
    said = squeezed(bodies(found))
    if format_ is Format.PLAIN or not re.search("[`~]{3}", text):
        assert said == squeezed(text)
    else:  # a fence that was cut is closed and opened again
        assert re.sub("[`~a]", "", said) == re.sub("[`~a]", "", squeezed(text))


def test_it_is_cut_between_paragraphs() -> None:
    """No sentence is torn apart where a paragraph ends nearby."""
    paragraph = "A sentence of *some* words:" + "\nand a line of other words." * 60
    found = markdown("\n\n".join([paragraph] * 12))
    assert len(found) > 2
    for content in found:
        body = str(content["body"])
        assert body.startswith("A sentence")
        assert body.endswith("words.")


def test_a_fence_that_is_cut_goes_on() -> None:
    """Code longer than an event is code in every one, and indented as it was."""
    lines = [f"    line {n}" for n in range(2000)]
    found = markdown(
        "Before.\n\n```python\n" + "\n".join(lines) + "\n```\n\nAfter *it*."
    )
    assert len(found) > 2
    said = ""
    for content in found:
        html = str(content["formatted_body"])
        assert '<pre><code class="language-python">' in html
        said += read(html).said
    assert [line for line in said.splitlines() if "line" in line] == lines
    assert "<em>it</em>" in str(found[-1]["formatted_body"])


def test_a_fence_near_the_end_is_not_cut() -> None:
    """Code that would be cut soon after its start begins in the next event."""
    text = "word " * 1400 + "\n\n```\n" + "code\n\n" * 400 + "```"
    first, second = markdown(text)
    assert "```" not in str(first["body"])
    assert str(second["body"]).startswith("```\ncode\n")


MILLION = {
    "letters": "a" * 1_000_000,
    "words": "*word* " * 140_000,
    "lines": "\n" * 1_000_000,
    "controls": "\x00\u202e" * 500_000,
    "brackets": "[" * 1_000_000,
    "faces": "\U0001f600" * 1_000_000,
    "script": "<script>alert(1)</script>\n\n" * 37_000,
}


@pytest.mark.parametrize("text", MILLION.values(), ids=MILLION)
def test_a_megabyte_is_no_harm(text: str) -> None:
    """What is far too long is plain text, soon."""
    started = time.process_time()
    found = contents(Message(text, Format.MARKDOWN))
    assert time.process_time() - started < 5
    assert all(len(orjson.dumps(content)) <= MOST_BYTES for content in found)


SLOW = {
    "brackets": "[" * 8000,
    "pictures": "![" * 4000,
    "links": "[a](" * 2000,
    "emphasis": "*a **a _a __a " * 570,
    "deep": "**" * 2000 + "a" + "**" * 2000,
    "quotes": ">" * 8000,
    "lists": "- " * 4000,
    "items": "-\n" * 4000,
    "ticks": "".join("`" * n + " " for n in range(1, 125)),
    "wide": "|a" * 200 + "\n" + "|-" * 200 + "\n" + "a\n" * 3000,
    "wide in quotes": "> " + "|a" * 200 + "\n> " + "|-" * 200 + "\n" + "> a\n" * 1700,
    "links in links": "[a](b " * 1300 + ")" * 99,
}


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_no_markdown_is_slow_deep_or_huge(text: str) -> None:
    """Texts made to keep a parser busy, or a client, are events like others."""
    started = time.process_time()
    markdown(text)
    assert time.process_time() - started < 1.5
