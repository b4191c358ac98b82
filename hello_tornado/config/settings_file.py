"""Reads settings.yaml strictly, and keeps the place of every value for error messages."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml


class Place(NamedTuple):
    """A place in the file; both numbers count from 1."""

    line: int
    column: int


@dataclass
class SettingsFile:
    """The data in a file, the places of its keys and values, and what is wrong with it."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    values: dict[str, Place] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def complain(self, place: Place, message: str) -> None:
        """Add a problem, as file:line:column."""
        self.problems.append(f"{self.name}:{place.line}:{place.column}: {message}")


class _Loader(yaml.SafeLoader):
    """YAML without its surprises: `no` is not a boolean, 010 is not 8 and 1:30 is not 90."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    # A tag can turn 010 into 8 or run code, an alias can contain itself, and the errors about them
    # quote a word that may be the beginning of a secret.
    def fetch_tag(self) -> None:
        self._refuse("tags (words that begin with !)")

    def fetch_anchor(self) -> None:
        self._refuse("anchors (words that begin with &)")

    def fetch_alias(self) -> None:
        self._refuse("aliases (words that begin with *)")

    def _refuse(self, what: str) -> NoReturn:
        raise yaml.MarkedYAMLError(
            problem=f"{what} are not allowed here; a text can be put in quotes",
            problem_mark=self.get_mark(),
        )


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,17})", "-+0123456789"),
    ("float", r"[-+]?[0-9]+\.[0-9]+", "-+0123456789"),
    ("null", r"~|null|", ["~", "n", ""]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first)
    )


def read_settings_file(path: Path) -> SettingsFile:
    """Read a file. What is wrong with it is in the result; no error is raised."""
    file = SettingsFile(str(path))
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return file
        if isinstance(node, yaml.MappingNode):
            file.data = _mapping(loader, node, "", file)
        else:
            file.complain(_place(node.start_mark), "settings must be a mapping of names to values")
    except yaml.MarkedYAMLError as error:
        file.complain(_place(error.problem_mark), _explained(error))
    except yaml.reader.ReaderError as error:
        before = path.read_text(encoding="utf-8")[: error.position]
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        file.complain(place, "this character is not allowed in a text file")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        file.complain(place, "this is not UTF-8")
    except RecursionError:
        file.problems.append(f"{path}: the nesting is too deep")
    except OSError as error:
        file.problems.append(f"{path}: cannot be read: {error.strerror}")
    return file


def _mapping(
    loader: _Loader, node: yaml.MappingNode, path: str, file: SettingsFile
) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        name = f"{path}.{key}" if path else key
        here = _place(key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode):
            file.complain(here, "the name of a setting must be one word")
            continue
        if key in data:
            file.complain(here, f"{name} is given twice (first on line {file.keys[name].line})")
            continue
        file.keys[name] = here
        file.values[name] = _place(value_node.start_mark)
        if isinstance(value_node, yaml.MappingNode):
            data[key] = _mapping(loader, value_node, name, file)
        else:
            data[key] = loader.construct_object(value_node, deep=True)
    return data


def _place(mark: yaml.Mark | None) -> Place:
    return Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)


def _explained(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "this is not YAML"
    if "'\\t'" in problem:
        return "YAML does not allow tabs here; indent with spaces"
    return f"{problem} ({error.context})" if error.context else problem
