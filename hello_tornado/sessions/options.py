"""Checks of options, made when the options are passed.

A check takes the full name of the option and the given value. It returns the value to use (for
example, a number of seconds as a timedelta, or a list as a tuple) or raises `ConfigurationError`.
The message names the option and says what to write. It shows only the type of an object, because a
cipher or a store may contain a secret.
"""

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final, NoReturn, ParamSpec, TypeAlias, TypeVar

from hello_tornado.sessions.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")

Check: TypeAlias = Callable[[str, Any], Any]

LONGEST: Final = timedelta(days=36_500)  # so that the present moment plus this is a valid date
MISSPELT: Final = 0.85  # the similarity at which a name is considered a misspelling of another
SHOWN: Final = 60  # the number of characters of a value in a message
# Microseconds since 1970. Times in seconds or milliseconds are lower, in nanoseconds higher.
MOMENTS: Final = range(10**13, 10**17)


def checked(**checks: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that passes the arguments of a function through *checks*."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        owner = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # raises Python's error, which names the class
            for name in checks.keys() & given.arguments.keys():
                value = given.arguments[name]
                given.arguments[name] = checks[name](f"{owner}({name}=…)", value)
            return function(*given.args, **given.kwargs)

        return call

    return decorate


def check_fields(instance: object, checks: Mapping[str, Check]) -> None:
    """Pass the fields of a frozen dataclass through *checks*."""
    for name, check in checks.items():
        full_name = f"{type(instance).__name__}({name}=…)"
        object.__setattr__(instance, name, check(full_name, getattr(instance, name)))


def check_attributes(cls: type) -> None:
    """Check the options that a new class sets as attributes.

    `_attribute_checks` in its base classes lists the options. Other attributes that begin with
    `session_` or resemble an option are refused, because they would have no effect.
    """
    checks: dict[str, Check] = {}
    for base in cls.__mro__:
        checks |= vars(base).get("_attribute_checks", {})
    inherited = set[str]().union(*(vars(base) for base in cls.__mro__[1:]))
    for name, value in [*vars(cls).items()]:
        if name.startswith("_") or hasattr(value, "__get__"):
            continue  # methods and properties are not checked
        if name in checks:
            setattr(cls, name, checks[name](f"{cls.__name__}.{name}", value))
        elif name not in inherited:
            _check_spelling(cls, name, checks)


def _check_spelling(cls: type, name: str, known: Mapping[str, Check]) -> None:
    meant = get_close_matches(name, known, 1, MISSPELT)
    if meant or name.startswith("session_"):
        instead = meant[0] if meant else f"one of {', '.join(sorted(known))}, or another name"
        raise ConfigurationError(f"{cls.__name__}.{name} is not an option: write {instead}")


def flag(name: str, given: Any) -> bool:
    """Accept True or False, but not other values that are true or false."""
    if not isinstance(given, bool):
        refuse(name, "True or False", shown(given))
    return given


def flag_or_some_of(words: Collection[str]) -> Check:
    """Accept True, False, or a set of some of *words*."""

    def check(name: str, given: Any) -> bool | frozenset[str]:
        if isinstance(given, bool):
            return given
        if isinstance(given, set | frozenset | list | tuple) and {*given} <= {*words}:
            return frozenset(given)
        refuse(name, f"True, False, or a set of {', '.join(words)}", shown(given))

    return check


def one_of(*words: Any) -> Check:
    """Accept one of these values. True is not 1."""

    def check(name: str, given: Any) -> Any:
        for word in words:
            if type(given) is type(word) and given == word:
                return word
        refuse(name, f"one of {', '.join(map(repr, words))}", shown(given))

    return check


def any_case(*words: str | None) -> Check:
    """Accept one of these words in any case; return it as given here."""

    def check(name: str, given: Any) -> str | None:
        word = given.lower() if isinstance(given, str) else given
        if word not in words:
            refuse(name, f"one of {', '.join(map(repr, words))}", shown(given))
        return None if word is None else str(word)

    return check


def count(name: str, given: Any) -> int:
    """Accept a whole number from 1."""
    if type(given) is not int or given < 1:
        refuse(name, "a whole number of at least 1", shown(given))
    return given


def duration(least: timedelta = timedelta(microseconds=1)) -> Check:
    """Accept a timedelta or a number of seconds, at least *least* and at most `LONGEST`."""
    longer = f"at least {least}" if least != timedelta(microseconds=1) else "longer than zero"

    def check(name: str, given: Any) -> timedelta:
        value = as_duration(given)
        if value is None or not least <= value <= LONGEST:
            what = f"a timedelta or a number of seconds, {longer}, at most {LONGEST.days} days"
            refuse(name, what, shown(given))
        return value

    return check


def as_duration(given: Any) -> timedelta | None:
    """Return a timedelta, or a number of seconds as a timedelta; None for all other values."""
    if isinstance(given, timedelta):
        return given
    if type(given) not in (int, float):
        return None
    try:
        return timedelta(seconds=given)
    except (OverflowError, ValueError):  # too long, infinite or NaN
        return None


def instance_of(kind: type, example: str) -> Check:
    """Accept an instance of a class."""

    def check(name: str, given: Any) -> Any:
        if not isinstance(given, kind):
            refuse(name, f"a {kind.__name__}, such as {example}", kind_of(given))
        return given

    return check


def implements(protocol: type, example: str) -> Check:
    """Accept an object with all methods of a protocol; it may delegate some by `__getattr__`."""
    methods = [name for name in vars(protocol) if not name.startswith("_")]

    def check(name: str, given: Any) -> Any:
        lacks = [method for method in methods if not callable(getattr(given, method, None))]
        if lacks or isinstance(given, type):
            without = f" without {', '.join(lacks)}" if lacks else ""
            what = f"a {protocol.__name__}, such as {example}"
            refuse(name, what, kind_of(given) + without)
        return given

    return check


def subclass_of(kind: type, example: str) -> Check:
    """Accept a subclass of *kind*."""

    def check(name: str, given: Any) -> Any:
        if not isinstance(given, type) or not issubclass(given, kind):
            refuse(name, f"a subclass of {kind.__name__}, such as {example}", kind_of(given))
        return given

    return check


def function(arguments: int, example: str) -> Check:
    """Accept a function with this number of arguments that is not a coroutine function."""

    def check(name: str, given: Any) -> Any:
        if not callable(given) or inspect.iscoroutinefunction(given):
            refuse(name, f"a function, such as {example}", kind_of(given))
        try:
            inspect.signature(given).bind(*[None] * arguments)
        except TypeError:
            number = {0: "no arguments", 1: "one argument"}[arguments]
            refuse(name, f"a function of {number}, such as {example}", kind_of(given))
        except ValueError:
            pass  # a builtin without a signature
        return given

    return check


def clock(name: str, given: Any) -> Any:
    """Accept a function that returns the present moment in microseconds since 1970."""
    example = "lambda: time.time_ns() // 1_000"
    function(0, example)(name, given)
    now = given()
    if type(now) is not int or now not in MOMENTS:
        what = f"a function that returns whole microseconds since 1970, such as {example}"
        refuse(name, what, f"one that returns {shown(now)}")
    return given


def text(pattern: re.Pattern[str], what: str) -> Check:
    """Accept a str that matches *pattern* as a whole; *what* describes it in the message."""

    def check(name: str, given: Any) -> str:
        if not isinstance(given, str) or pattern.fullmatch(given) is None:
            refuse(name, what, shown(given))
        return given

    return check


def several(check_one: Check) -> Check:
    """Accept a list, tuple or set whose members all pass *check_one*; return a tuple."""

    def check(name: str, given: Any) -> tuple[Any, ...]:
        if not isinstance(given, list | tuple | set | frozenset):
            refuse(name, "a list, even if it has one member", kind_of(given))
        return tuple(check_one(f"a member of {name}", one) for one in given)

    return check


def optional(check: Check) -> Check:
    """Accept None, or what *check* accepts."""
    return lambda name, given: None if given is None else check(name, given)


def refuse(name: str, what: str, given: str) -> NoReturn:
    """Raise `ConfigurationError`: the option *name* must be *what*, and it is *given*."""
    raise ConfigurationError(f"{name} must be {what}; it is {given}")


def shown(given: Any) -> str:
    """Return a text for a value in a message: a plain value itself, or the type of another one."""
    if isinstance(given, type):
        return f"the class {given.__name__}"
    if given is None or isinstance(given, bool | int | float | str | timedelta):
        return f"{given!r:.{SHOWN}}"
    return kind_of(given)


def kind_of(given: Any) -> str:
    """Return a text with the type of a value, without its content."""
    return f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
