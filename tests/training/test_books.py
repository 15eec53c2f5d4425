"""Cleaning: Project Gutenberg's texts in all their forms, written out small."""

import re

import pytest

from medusa_lib.training.books import (
    Book,
    find_title,
    normalise,
    read_book,
    read_corpus,
    split_tales,
    strip_licence,
)

PROSE = (
    "Once there was a miller who had a daughter, and she could spin gold out of straw, so he\n"
    "said, and the king heard of it and sent for her at once.\n\n"
    '"Spin," said the king, "or you shall die in the morning." And he shut the door and left\n'
    "her alone with the straw, and she sat down and wept, for she did not know how.\n\n"
    "Then the door opened and a little man walked in and asked her why she wept so bitterly, and\n"
    "what she would give him if he did the work for her before the sun came up again.\n\n"
)
LICENCE = "Section 1. This eBook is under the Project Gutenberg License and trademark.\n"
NEW_HEAD = "The Project Gutenberg EBook of Gold, by A. Miller\n\nTitle: Gold\n\n"
SMALL_PRINT = (
    "*Project Gutenberg Etext of Gold, by A. Miller*\n\n"
    "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\n" + LICENCE
)
FORMS = {
    "modern": (
        NEW_HEAD + "*** START OF THIS PROJECT GUTENBERG EBOOK GOLD ***\n",
        "*** END OF THIS PROJECT GUTENBERG EBOOK GOLD ***\n" + LICENCE,
    ),
    "no space": (
        NEW_HEAD + "***START OF THE PROJECT GUTENBERG EBOOK GOLD***\n",
        "***END OF THE PROJECT GUTENBERG EBOOK GOLD***\n" + LICENCE,
    ),
    "the": (
        NEW_HEAD + "*** START OF THE PROJECT GUTENBERG EBOOK GOLD ***\n",
        "End of Project Gutenberg's Gold, by A. Miller\n" + LICENCE,
    ),
    "end with curly quote": (
        NEW_HEAD + "*** START OF THIS PROJECT GUTENBERG EBOOK GOLD ***\n",
        "End of Project Gutenberg’s Gold, by A. Miller\n\n*** END OF THIS PROJECT GUTENBERG\n",
    ),
    "small print": (
        SMALL_PRINT + "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n",
        "End of the Project Gutenberg Etext of Gold, by A. Miller\n",
    ),
    "small print, other end": (
        SMALL_PRINT + "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.05/20/01*END*\n",
        "The Project Gutenberg Etext of Gold, by A. Miller\n",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_no_licence_text_is_left_in_any_form(form, tmp_path):
    head, foot = FORMS[form]
    path = tmp_path / "pg7.txt"
    path.write_text(head + "\n\nI\n\n\n" + PROSE + foot, encoding="utf-8")
    book = read_book(path)
    assert (book.number, book.title, len(book.tales)) == (7, "Gold", 1)
    assert book.tales[0].startswith("Once there was a miller")
    assert book.tales[0].endswith("before the sun came up again.")
    assert not re.search(r"gutenberg|e-?text|e-?book|licen|\*", book.tales[0], re.I)


def test_an_end_named_in_the_first_half_is_not_the_footer():
    body = "Project Gutenberg's first mention.\n" + "A line of prose.\n" * 20
    assert strip_licence("*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n" + body) == "\n" + body


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("Title: Grimms’ Fairy Tales\n", "Grimms' Fairy Tales"),
        ("Title:  The Enchanted Castle\n", "The Enchanted Castle"),
        ("Title: Tom Sawyer, Complete\n", "Tom Sawyer"),
        (
            "*Project Gutenberg Etext of Five Children and It, by E. Nesbit*\n",
            "Five Children and It",
        ),
        ("The Project Gutenberg EBook of Through the Glass, by\nLewis\n", "Through the Glass"),
        ("Project Gutenberg's Black Beauty, by Anna Sewell\n", "Black Beauty"),
        ("The Project Gutenberg eBook, Indian Tales, by J. Jacobs\n", "Indian Tales"),
        ("A book.\n", "untitled"),
    ],
)
def test_the_title_is_read_from_the_header(head, title):
    assert find_title(head) == title


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("“Oh, don’t!” cried ‘Kay’", "\"Oh, don't!\" cried 'Kay'"),
        ("''Oh!'' said he", '"Oh!" said he'),
        ("wait—no – yes… ---- end --- so", "wait--no - yes... -- end -- so"),
        ("_very_ good", "very good"),
        ("she[1] went{12} on(3) and<4> on", "she went on and on"),
        ("a [Illustration: a cat\nsits here] b", "a  b"),
        ("a [Footnote 2: see\nelsewhere.] b", "a  b"),
        ("\ufeffone\u00a0two\tthree", "one two three"),
        ("[aside] she said", "[aside] she said"),
    ],
)
def test_quotes_dashes_and_marks_are_normalised(raw, clean):
    assert normalise(raw) == clean


def test_hard_wraps_become_one_line_a_paragraph():
    (tale,) = split_tales(PROSE)
    paragraphs = tale.split("\n")
    assert len(paragraphs) == 3
    assert "so he said, and the king heard" in paragraphs[0]
    assert not re.search("  ", tale)


def test_verse_keeps_its_lines():
    verse = "  Round about, round about,\n    Lo and behold!\n  Reel away, reel away,\n\n"
    (tale,) = split_tales(PROSE + verse + PROSE)
    assert "\nRound about, round about,\nLo and behold!\nReel away, reel away,\n" in tale


@pytest.mark.parametrize(
    "heading",
    [
        "THE LITTLE MAN",
        "CHAPTER II",
        "Chapter 2. How the man came back",
        "XIV. The Name",
        "* * * * *",
        "12",
        "\nThe Little Man Comes Back",
    ],
)
def test_headings_split_tales_and_are_dropped(heading):
    tales = split_tales(f"{PROSE}\n\n{heading}\n\n\n{PROSE}")
    assert len(tales) == 2
    assert tales[0] == tales[1] == split_tales(PROSE)[0]


def test_short_prose_is_no_heading():
    (tale,) = split_tales(f'{PROSE}"Never!" she said.\n\nHe laughed.\n\n{PROSE}')
    assert '\n"Never!" she said.\nHe laughed.\n' in tale


@pytest.mark.parametrize(
    "junk",
    [
        "  CHAPTER I. The Mill      1\n  CHAPTER II. The King     12\n  CHAPTER III. Home    40\n",
        "The Mill\nThe King\nThe Straw\nThe Little Man\nThe Child\nThe Name\nThe End of It\n",
        "Produced by A. Volunteer and the\nOnline Distributed Proofreading Team\n",
        "Copyright, 1901, by A. Publisher\n",
        "[From the German.]\n",
        "[Illustration: The miller\nand the king]\n",
    ],
)
def test_contents_credits_and_illustrations_are_dropped(junk):
    text = normalise(f"{junk}\n\n{PROSE}")
    assert split_tales(text) == split_tales(PROSE)


def test_appendices_end_the_book():
    notes = "A very long note about where this tale was found, and by whom it was told. " * 9
    assert split_tales(f"{PROSE}{PROSE}\n\nNOTES AND REFERENCES\n\n\n{notes}\n") == split_tales(
        PROSE + PROSE
    )


def test_title_pages_and_advertisements_are_no_tales():
    assert split_tales("A short page.\n\n") == ()
    prices = "No. 12 (1901), 340 pp., $2.50 = 10s. 6d.\n\n" * 20
    assert split_tales(prices) == ()


def test_a_text_without_a_header_is_refused_by_name(tmp_path):
    (tmp_path / "pg5.txt").write_text(PROSE, encoding="utf-8")
    with pytest.raises(ValueError, match=r"pg5\.txt: no Project Gutenberg header"):
        read_corpus(tmp_path)


def test_a_book_without_prose_is_refused_by_name(tmp_path):
    head, foot = FORMS["modern"]
    (tmp_path / "pg5.txt").write_text(head + "Too short.\n" + foot, encoding="utf-8")
    with pytest.raises(ValueError, match=r"pg5\.txt: no prose"):
        read_corpus(tmp_path)


def test_a_text_that_is_not_utf8_is_refused_by_name(tmp_path):
    (tmp_path / "pg5.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"pg5\.txt: 'utf-8'"):
        read_corpus(tmp_path)


@pytest.mark.parametrize("where", ["empty", "missing"])
def test_a_folder_without_books_is_refused(where, tmp_path):
    folder = tmp_path if where == "empty" else tmp_path / "missing"
    with pytest.raises(ValueError, match=r"corpus must be a folder with pgN\.txt files"):
        read_corpus(folder)


def test_books_come_by_number_and_other_files_are_ignored(tmp_path):
    head, foot = FORMS["modern"]
    for name in ("pg100.txt", "pg11.txt", "pg9.txt"):
        (tmp_path / name).write_text(head + "\n" + PROSE + foot, encoding="utf-8")
    (tmp_path / "pgnotes.txt").write_text("not a book")
    books = read_corpus(tmp_path)
    assert [(book.number, book.held_out) for book in books] == [
        (9, False),
        (11, True),
        (100, False),
    ]
    assert isinstance(books[0], Book)
