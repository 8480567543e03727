"""Hashes of inputs: stable, and of what counts only."""

from __future__ import annotations

import pytest

from hil.virtual.image.recipe import HOST_PROGRAMS, MODULES, PACKAGES, code_digest, digest, file_sha256, tree_digest


def test_parts_do_not_run_into_each_other():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a", b"b") == digest("a", b"b")
    assert digest() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest("a", "") != digest("a")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "etc" / "sub").mkdir(parents=True)
    (tmp_path / "etc" / "unit").write_text("[Unit]\n")
    (tmp_path / "etc" / "sub" / "link").symlink_to("../unit")
    return tmp_path / "etc"


def test_documents_and_caches_do_not_count(folder):
    before = tree_digest([folder])
    (folder / "README.md").write_text("words")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"")
    assert tree_digest([folder]) == before


def test_content_names_links_and_x_bits_count(folder):
    seen = {tree_digest([folder])}
    (folder / "unit").write_text("[Unit]\n#\n")
    seen.add(tree_digest([folder]))
    (folder / "unit").chmod(0o755)
    seen.add(tree_digest([folder]))
    (folder / "unit").rename(folder / "other")
    seen.add(tree_digest([folder]))
    (folder / "sub" / "link").unlink()
    (folder / "sub" / "link").symlink_to("elsewhere")
    seen.add(tree_digest([folder]))
    assert len(seen) == 5


def test_code_counts_by_what_it_does(tmp_path):
    a, b, c = tmp_path / "a.py", tmp_path / "b.py", tmp_path / "c.py"
    a.write_text('"""Old words."""\n\n\ndef f(x: int) -> int:\n    """More."""\n    return x + 1  # why\n')
    b.write_text('"""New words."""\ndef f(\n    x: int,\n) -> int:\n    return x + 1\n')
    c.write_text("def f(x: int) -> int:\n    return x + 2\n")
    assert code_digest(a) == code_digest(b)
    assert code_digest(a) != code_digest(c)


def test_file_hash(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_lists_name_nothing_twice():
    for names in (PACKAGES, MODULES, HOST_PROGRAMS):
        assert len(set(names)) == len(names)
