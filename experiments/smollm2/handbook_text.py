#!/usr/bin/env python3
"""Turns the Debian package `debian-handbook` (HTML) into long prose: JSON lines, one document a line.

    handbook_text.py HTML_DIRECTORY OUTPUT.jsonl [CHARACTERS]

Pages are read in the book's own order (each links to its next) and joined until a document holds at
least CHARACTERS (default 100,000: some 22,000 tokens of SmolLM2's); what is left over at the end
joins the last document. Fields: `title` (of the first page), `text`. The output depends on the
package's version alone.
"""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

BLOCKS = {"p", "div", "li", "dt", "dd", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "title", "table"}
SKIPPED_IDS = {"banner", "title"}
SKIPPED_CLASSES = {"docnav", "footer", "indexterm", "toc", "authorgroup", "keywordset"}
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta"}


class Page(HTMLParser):
    """One page's prose: blocks become paragraphs, `pre` keeps its lines, navigation is dropped."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.title, self.next_page = "", ""
        self._paragraphs, self._text = [], []
        self._open = []  # (tag, skipped) of each open element
        self.feed(html)
        self._end_paragraph()

    @property
    def text(self) -> str:
        return "\n\n".join(self._paragraphs)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "link" and values.get("rel") == "next":
            self.next_page = values.get("href", "")
        if tag in BLOCKS or tag == "pre":
            self._end_paragraph()
        if tag in VOID:
            if tag == "br":
                self._text.append("\n")
            return
        classes = set((values.get("class") or "").split())
        skipped = values.get("id") in SKIPPED_IDS or bool(classes & SKIPPED_CLASSES)
        self._open.append((tag, skipped or tag in {"script", "style"}))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag in BLOCKS or tag == "pre":
            self._end_paragraph()
        while self._open:
            opened, _ = self._open.pop()
            if opened == tag:
                break

    def handle_data(self, data):
        tags = [tag for tag, _ in self._open]
        if "title" in tags:
            self.title += data
        elif "body" in tags and not any(skipped for _, skipped in self._open):
            self._text.append(data)

    def _end_paragraph(self):
        text = "".join(self._text)
        self._text = []
        if any(tag == "pre" for tag, _ in self._open):
            text = text.strip("\n")
        else:
            text = re.sub(r"\s+", " ", text).strip()
        if text.strip():
            self._paragraphs.append(text)


def book_pages(directory: Path):
    """The pages from index.html on, in the book's order."""
    name, seen = "index.html", set()
    while name and name not in seen:
        seen.add(name)
        page = Page((directory / name).read_text(encoding="utf-8"))
        yield page
        name = page.next_page


def documents(directory: Path, least: int):
    """Documents of at least `least` characters, each of whole pages."""
    titles, texts, made = [], [], []
    for page in book_pages(directory):
        titles.append(page.title.strip())
        texts.append(page.text)
        if sum(map(len, texts)) >= least:
            made.append({"title": titles[0], "text": "\n\n".join(texts)})
            titles, texts = [], []
    if texts and made:
        made[-1]["text"] += "\n\n" + "\n\n".join(texts)
    return made


def main() -> None:
    if len(sys.argv) not in (3, 4):
        print("usage: handbook_text.py HTML_DIRECTORY OUTPUT.jsonl [CHARACTERS]", file=sys.stderr)
        sys.exit(2)
    directory, output = Path(sys.argv[1]), Path(sys.argv[2])
    if not (directory / "index.html").is_file():
        print(f"handbook_text.py: {directory}: no index.html there", file=sys.stderr)
        sys.exit(2)
    made = documents(directory, int(sys.argv[3]) if len(sys.argv) == 4 else 100_000)
    if not made:
        print(f"handbook_text.py: {directory}: less than one document's text", file=sys.stderr)
        sys.exit(2)
    with output.open("w", encoding="utf-8") as file:
        for document in made:
            file.write(json.dumps(document, ensure_ascii=False) + "\n")
    print(f"{output}: {len(made)} documents, {sum(len(d['text']) for d in made)} characters")


if __name__ == "__main__":
    main()
