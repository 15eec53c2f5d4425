"""The command: what is wrong is said in one line, before anything is computed or written."""

from __future__ import annotations

from pathlib import Path

import pytest
from tree import ROOT

from medusa_lib.base.course import LESSONS
from medusa_lib.site import __main__ as command
from medusa_lib.site.build import (
    MOST,
    check_out,
    check_weights,
    page_sizes,
    publish,
    sphinx_settings,
)
from medusa_lib.site.lessons import file_meant, link_files, read_lessons, source_page
from medusa_lib.site.panels import check_names


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(command, "NEEDED", ("sphinx_that_nobody_has",))
    assert command.main(["--out", str(tmp_path / "site")]) == 2
    assert "pip install -e '.[site]'" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_foreign_folder_stays_as_it_is(tmp_path: Path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ValueError, match="--out must be new, empty or a site made before"):
        check_out(tmp_path)
    with pytest.raises(ValueError, match="--out must be a folder, got the file"):
        check_out(tmp_path / "letter.txt")
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_a_site_made_before_is_replaced_whole(tmp_path: Path):
    out = tmp_path / "deep" / "site"
    for text in ("old", "new"):
        built = tmp_path / text
        built.mkdir()
        (built / f"{text}.html").write_text(text)
        check_out(out)
        publish(built, out)
    assert sorted(path.name for path in out.iterdir()) == [".medusa-site", ".nojekyll", "new.html"]
    assert [size.page for size in page_sizes(out)] == ["new.html"]


def test_a_heavy_page_is_not_published(tmp_path: Path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"0" * MOST)
    (tmp_path / "light.html").write_text("words")
    check_weights(tmp_path)
    (tmp_path / "heavy.html").write_text('<img alt="" src="a.png">')
    with pytest.raises(RuntimeError, match=f"heavy.html must have at most {MOST} bytes with gzip"):
        check_weights(tmp_path)


def test_no_checkout_and_no_lesson_are_said(tmp_path: Path):
    with pytest.raises(ValueError, match="--project must be a checkout of the course"):
        read_lessons(tmp_path)
    with pytest.raises(ValueError, match="--panels must be among STEP0 to BEYOND13, got 'STEP9'"):
        check_names(["STEP3", "STEP9"])


def test_a_repository_brings_its_buttons_and_none_brings_none():
    with_it = sphinx_settings("https://example.org/a/b/")["html_theme_options"]
    assert with_it["repository_url"] == "https://example.org/a/b"
    assert {"binderhub_url", "colab_url"} <= set(with_it["launch_buttons"])
    assert "repository_url" not in sphinx_settings(None)["html_theme_options"]


def test_files_are_known_by_their_short_names_too():
    package = ROOT / "medusa_lib"
    assert file_meant("medusa_lib/demo.py", "steps", package) == "demo.py"
    assert file_meant("branches.py", "beyond", package) == "beyond/branches.py"
    assert file_meant("nothing.py", "beyond", package) is None
    assert source_page("beyond/trees.py") == "source/beyond-trees"


def test_named_files_become_links_but_not_in_code():
    text = "see `beyond/trees.py` and `no.py`\n```python\n`demo.py`\n```"
    linked, named = link_files(text, LESSONS[-1], ROOT / "medusa_lib")
    assert named == {"beyond/trees.py"}
    link = '<a href="../source/beyond-trees.html"><code>beyond/trees.py</code></a>'
    assert linked == text.replace("`beyond/trees.py`", link)
