"""Reads and writes profiles as TOML files, the built-in ones included."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec

from efishim.firmware.profile import Kind, Profile, ProfileError, checked_answer, item
from efishim.reading import parse_toml

SCHEMA = 1
FILE_LIMIT = 1 << 20
"""Largest profile that is read, bytes; one that names everything has a few dozen KiB."""
ITEM_LIMIT = 4096
TEXT_LIMIT = 1024
VENDOR_LIMIT = 64
SUFFIX = ".toml"

SECTIONS = {
    "services": Kind.SERVICE,
    "fields": Kind.FIELD,
    "protocols": Kind.PROTOCOL,
    "tables": Kind.TABLE,
    "variables": Kind.VARIABLE,
}
_PLAIN = ("schema", "name", "summary", "sources", "vendor", "default")


def shipped() -> dict[str, bytes]:
    """The profiles that come with efishim, by name."""
    folder = files("efishim.firmware").joinpath("profiles")
    found = sorted((one for one in folder.iterdir() if one.name.endswith(SUFFIX)), key=lambda one: one.name)
    return {one.name.removesuffix(SUFFIX): one.read_bytes() for one in found}


def read_profile(data: bytes, *, name: str = "the profile") -> Profile:
    """A profile from TOML; `name` is what sentences call it. Raises ProfileError."""
    if len(data) > FILE_LIMIT:
        raise ProfileError(f"{name} is larger than {FILE_LIMIT >> 20} MiB, which no profile is")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProfileError(f"{name} is not TOML: {error.reason} at byte {error.start}") from error
    content = parse_toml(text, name, ProfileError)
    try:
        return _profile(content)
    except ProfileError as error:
        raise ProfileError(f"{name}: {error.sentence}", hint=error.hint) from error


def _profile(content: dict[str, Any]) -> Profile:
    unknown = sorted(content.keys() - {*_PLAIN, *SECTIONS})
    if unknown:
        raise ProfileError(f"there is no key {unknown[0][:NAME]!r}", hint=f"there are: {', '.join((*_PLAIN, *SECTIONS))}")
    if content.get("schema") != SCHEMA:
        raise ProfileError(f"its schema is {str(content.get('schema'))[:NAME]!r}, this efishim reads schema {SCHEMA}")
    vendor = content.get("vendor")
    if vendor is not None and (not isinstance(vendor, str) or not 0 < len(vendor) <= VENDOR_LIMIT):
        raise ProfileError(f"the vendor must be a string of 1 to {VENDOR_LIMIT} characters")
    sections = {key: _table(content, key) for key in SECTIONS}
    if sum(len(section) for section in sections.values()) > ITEM_LIMIT:
        raise ProfileError(f"it names more than {ITEM_LIMIT} items")
    answers = {}
    for key, kind in SECTIONS.items():
        for text, answer in sections[key].items():
            one = item(kind, text)
            if one in answers:
                raise ProfileError(f"{one.text} is named twice")
            answers[one] = checked_answer(one, answer)
    defaults = _table(content, "default")
    for key in sorted(defaults):
        if key not in SECTIONS:
            raise ProfileError(f"there is no default for {key[:NAME]!r}", hint=f"there are: {', '.join(SECTIONS)}")
    return Profile(
        name=_text(content, "name"),
        summary=_text(content, "summary"),
        sources=_sources(content),
        vendor=vendor,
        defaults=tuple(sorted((SECTIONS[key], checked_answer(SECTIONS[key], answer)) for key, answer in defaults.items())),
        answers=tuple(sorted(answers.items())),
    )


NAME = 64


def _table(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise ProfileError(f"{key} is not a table")
    return value


def _text(content: dict[str, Any], key: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str) or len(value) > TEXT_LIMIT:
        raise ProfileError(f"{key} must be a string of at most {TEXT_LIMIT} characters")
    return value


def _sources(content: dict[str, Any]) -> tuple[str, ...]:
    value = content.get("sources", [])
    if not isinstance(value, list) or not all(isinstance(one, str) and len(one) <= TEXT_LIMIT for one in value):
        raise ProfileError(f"sources are a list of texts of at most {TEXT_LIMIT} characters")
    return tuple(value)


def write_profile(profile: Profile) -> bytes:
    """The TOML that `read_profile` reads back as the same value."""
    lines = [f"schema = {SCHEMA}", f"name = {_quoted(profile.name)}", f"summary = {_quoted(profile.summary)}"]
    if profile.sources:
        lines += ["sources = [", *(f"    {_quoted(one)}," for one in profile.sources), "]"]
    if profile.vendor is not None:
        lines.append(f"vendor = {_quoted(profile.vendor)}")
    defaults = dict(profile.defaults)
    if defaults:
        lines += ["", "[default]"]
        lines += [f"{key} = {_quoted(defaults[kind])}" for key, kind in SECTIONS.items() if kind in defaults]
    for key, kind in SECTIONS.items():
        chosen = [(one, answer) for one, answer in profile.answers if one.kind is kind]
        if chosen:
            lines += ["", f"[{key}]", *(f"{_quoted(one.name)} = {_quoted(answer)}" for one, answer in chosen)]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are among those of TOML, which wants DEL escaped besides."""
    return msgspec.json.encode(text).decode("utf-8").replace("\x7f", "\\u007f")
