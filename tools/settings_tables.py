"""The tables of settings, made from the three configurations."""

from __future__ import annotations

import dataclasses

from model.config import KINDS, ModelConfig, SamplingConfig, Setting, TrainingConfig, settings_of, types_of

CONFIGURATIONS = (ModelConfig, TrainingConfig, SamplingConfig)


def default_in_words(default: object) -> str:
    """A default as a table cell; nothing for a setting that is left out by default."""
    if default is None or default == ():
        return ""
    return f"`{default!r}`" if not isinstance(default, str) else f"`{default}`" if default else "empty"


def range_in_words(setting: Setting, kind: type) -> str:
    """What values are allowed, with what the ends of the range mean."""
    return setting.must(KINDS[kind]) + (f" ({setting.hint})" if setting.hint else "")


def table(configuration: type) -> str:
    """One configuration as a Markdown section: what it is, and a row for each field."""
    said = (configuration.__doc__ or "").strip()
    found = [f"## {configuration.__name__}", "", said, "", "| setting | default | allowed | unit | meaning |", "|---|---|---|---|---|"]
    for field, setting in settings_of(configuration):
        kind, _ = types_of(configuration)[field.name]
        default = default_in_words(None if field.default is dataclasses.MISSING else field.default)
        cells = (f"`{field.name}`", default, range_in_words(setting, kind), setting.unit, setting.meaning)
        found.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(found)


def settings_tables() -> str:
    """All three, one below the other."""
    return "\n\n".join(table(configuration) for configuration in CONFIGURATIONS)
