"""What keeps the house in order: names, floors, sizes."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hello_tornado.sessions
import hello_tornado.sessions.integrations.bokeh
import hello_tornado.sessions.integrations.jupyter
import hello_tornado.sessions.stores

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "hello_tornado").rglob("*.py"))
LONGEST_FILE = 500
LONGEST_FUNCTION = 40


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module docstring says what the file is for"
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            first = node.body[0].lineno  # options, a line each, are a list and no code
            assert node.end_lineno - first < LONGEST_FUNCTION, node.name


def test_the_public_names_are_sorted_and_complete() -> None:
    for module in (
        hello_tornado.sessions,
        hello_tornado.sessions.stores,
        hello_tornado.sessions.integrations.bokeh,
        hello_tornado.sessions.integrations.jupyter,
    ):
        public = module.__all__
        assert public == sorted(public)
        for name in public:
            assert getattr(module, name).__doc__, name


def pages() -> dict[str, str]:
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def test_every_public_name_is_in_the_docs() -> None:
    text = "\n".join(pages().values())
    public = {
        *hello_tornado.sessions.__all__,
        *hello_tornado.sessions.stores.__all__,
        *hello_tornado.sessions.integrations.bokeh.__all__,
        *hello_tornado.sessions.integrations.jupyter.__all__,
    }
    assert not [name for name in public if not re.search(rf"\b{name}\b", text)]


def test_the_docs_import_from_the_public_modules() -> None:
    """Whoever reads them need not know our packages, apart from the page that shows those."""
    public = {"", ".errors", ".events", ".stores", ".testing"}
    public |= {".integrations.bokeh", ".integrations.jupyter"}
    for name, text in pages().items():
        found = set(re.findall(r"(?:from|import) hello_tornado\.sessions([\w.]*)", text))
        assert found <= public, name


def test_what_needs_an_extra_says_which() -> None:
    program = """
import sys
for name in ("cryptography", "prometheus_client", "redis", "sqlalchemy"):
    sys.modules[name] = None
from hello_tornado.sessions import SessionManager
from hello_tornado.sessions.errors import ConfigurationError
import hello_tornado.sessions as sessions
for name, extra in sessions.WITH_AN_EXTRA.items():
    try:
        getattr(sessions, name)
    except ConfigurationError as error:
        assert f"pip install 'hello-tornado[{extra}]'" in str(error), error
    else:
        raise AssertionError(name)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_library_imports_nothing_heavy() -> None:
    heavy = (
        *("sqlalchemy", "alembic", "pydantic", "yaml", "typer", "rich"),
        *("bokeh", "panel", "jupyter_server"),
        "hello_tornado.config",
    )
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
