"""What keeps the house in order: names, floors, sizes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hello_tornado.sessions

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "hello_tornado").rglob("*.py"))
LONGEST_FILE = 500
LONGER_FOR_A_REASON = {
    "web.py",  # the binding: its parts lean on each other
    "manager.py",  # the service in one place: what a request costs, read down the page
}
LONGEST_FUNCTION = 40


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module docstring says what the file is for"
    if path.name not in LONGER_FOR_A_REASON:
        assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_the_public_names_are_sorted_and_complete() -> None:
    public = hello_tornado.sessions.__all__
    assert public == sorted(public)
    assert set(public) == {
        "CookiePolicy",
        "Lifetimes",
        "Session",
        "SessionManager",
        "SessionMixin",
        "Store",
        "WebSocketSessionMixin",
        "open_store",
    }
    for name in public:
        assert getattr(hello_tornado.sessions, name).__doc__


def test_the_library_imports_nothing_heavy() -> None:
    heavy = ("sqlalchemy", "alembic", "pydantic", "yaml", "typer", "rich", "hello_tornado.settings")
    program = f"""
import sys, hello_tornado.sessions, hello_tornado.sessions.testing
loaded = [name for name in {heavy!r} if name in sys.modules]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_tree_names_no_machine_and_no_registry() -> None:
    forbidden = ["/" + "work/", "py" + "pi.org", "npm" + "js.com", "python" + "hosted"]
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".png", ".svg"} or not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        assert not [word for word in forbidden if word in text], name
