"""YAML that is no recipe: one line, and no time or memory lost on it."""

import pytest

from messages import refused
from softrec.errors import RecipeError
from softrec.recipe.options import parse_assignment
from softrec.recipe.reading import DEEPEST, LARGEST, parsed, read_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)
)
TRAPS = {
    "references to references": LAUGHS,
    "many merged": "a: &a {b: 1}\n" + "c:\n  <<: [" + "*a, " * 20000 + "*a]",
    "itself": "a: &a [*a]",
    "itself in a mapping": "a: &a {b: *a}",
    "no anchor": "a: *b",
    "the same name": "seed: 1\nseed: 2",
    "the same name below": "data: {source: a, source: a}",
    "a tab": "data:\n\tsource: x",
    "deep": "[" * 30_000,
    "deep mappings": "{a: " * (DEEPEST + 1),
    "a huge number": "seed: " + "9" * 5000,
    "bytes": "a: !!binary aGk=",
    "a set": "a: !!set {x, y}",
    "Python": "a: !!python/object/apply:os.getcwd []",
    "a tag of one's own": "a: !thing 3",
    "a wrong truth value": "a: !!bool perhaps",
    "a name that is a number": "1: 2",
    "a name that is a truth value": "on: 2",
    "a name that is a list": "? [a]\n: 2",
    "two documents": "a: 1\n---\na: 2",
    "a NUL": "a: \0",
    "long": "# " + "x" * LARGEST,
}


@pytest.mark.parametrize("what", TRAPS)
def test_a_trap(what, tmp_path):
    text = TRAPS[what]
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with refused(RecipeError) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 500
    with refused(RecipeError):
        parse_assignment(f"a={text}")


@pytest.mark.parametrize("content", [b"\xff\xfea\0:\0", b"a: \xe4", b"\x80"])
def test_another_encoding(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with refused(RecipeError):
        read_yaml(path)


def test_a_mark_of_utf_8_is_no_harm(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 1\n")
    assert read_yaml(path) == {"seed": 1}


def test_what_is_no_file(tmp_path):
    with refused(RecipeError):
        read_yaml(tmp_path)
    with refused(RecipeError):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(RecipeError):  # in words of the system
        read_yaml(tmp_path / ("x" * 5000 + ".yaml"))
    with pytest.raises(RecipeError):
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
