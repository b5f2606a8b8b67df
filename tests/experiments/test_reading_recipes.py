"""YAML that is no recipe: one line, and no time or memory lost on it."""

import pytest

from softrec.errors import RecipeError
from softrec.recipe.options import parse_assignment
from softrec.recipe.reading import DEEPEST, LARGEST, MOST, parsed, read_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)
)
TRAPS = {
    "references to references": (LAUGHS, f"more than {MOST:,} values in line"),
    "many merged": ("a: &a {b: 1}\n" + "c:\n  <<: [" + "*a, " * 20000 + "*a]", "more than"),
    "itself": ("a: &a [*a]", r"\*a holds itself in line 1, column 8"),
    "itself in a mapping": ("a: &a {b: *a}", r"\*a holds itself"),
    "no anchor": ("a: *b", "undefined alias"),
    "the same name": ("seed: 1\nseed: 2", "'seed' is given twice in line 2, column 1"),
    "the same name below": ("data: {source: a, source: a}", "'source' is given twice"),
    "a tab": ("data:\n\tsource: x", r"'\\t'.*in line 2"),
    "deep": ("[" * 30_000, f"more than {DEEPEST} levels"),
    "deep mappings": ("{a: " * (DEEPEST + 1), f"more than {DEEPEST} levels"),
    "a huge number": ("seed: " + "9" * 5000, "4300 digits"),
    "bytes": ("a: !!binary aGk=", "binary' makes no plain data"),
    "a set": ("a: !!set {x, y}", "set' makes no plain data"),
    "Python": ("a: !!python/object/apply:os.getcwd []", "makes no plain data"),
    "a tag of one's own": ("a: !thing 3", "!thing' makes no plain data"),
    "a wrong truth value": ("a: !!bool perhaps", "makes no plain data"),
    "a name that is a number": ("1: 2", "the name of a field is not text; quote it in line 1"),
    "a name that is a truth value": ("on: 2", "the name of a field is not text"),
    "a name that is a list": ("? [a]\n: 2", "the name of a field is not text"),
    "two documents": ("a: 1\n---\na: 2", "but found another document"),
    "a NUL": ("a: \0", "special characters"),
    "long": ("# " + "x" * LARGEST, f"more than {LARGEST:,} bytes"),
}


@pytest.mark.parametrize("what", TRAPS)
def test_a_trap(what, tmp_path):
    text, reason = TRAPS[what]
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=reason) as refused:
        read_yaml(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) <= 500
    with pytest.raises(RecipeError, match="quote it"):
        parse_assignment(f"a={text}")


@pytest.mark.parametrize("content", [b"\xff\xfea\0:\0", b"a: \xe4", b"\x80"])
def test_another_encoding(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match="not in UTF-8; save it as UTF-8"):
        read_yaml(path)


def test_a_mark_of_utf_8_is_no_harm(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 1\n")
    assert read_yaml(path) == {"seed": 1}


def test_what_is_no_file(tmp_path):
    with pytest.raises(RecipeError, match="it is no file"):
        read_yaml(tmp_path)
    with pytest.raises(RecipeError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="too long"):
        read_yaml(tmp_path / ("x" * 5000 + ".yaml"))
    with pytest.raises(RecipeError, match="null"):
        read_yaml(tmp_path / "x\0.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E5", 1e5), ("-2e+3", -2000.0), ("1.5e-3", 0.0015), ("e3", "e3"),
        ("2020-01-01", "2020-01-01"), ("~", None), ("[ndcg@5]", ["ndcg@5"]), ("0x1f", 31),
        ("'1e3'", "1e3"), ("yes", True), ("1e", "1e"), ("{a: &x 1, b: *x}", {"a": 1, "b": 1}),
        ("{a: &x {b: 1}, c: {<<: *x, d: 2}}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)  # fmt: skip
def test_what_is_plain_is_read(text, value):
    assert parsed(text) == value
    assert type(parsed(text)) is type(value)
