"""The tables of settings, made from the configurations."""

from __future__ import annotations

from typing import Any

from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.settings import KINDS, Setting, default_of, settings_of, types_of
from service.web.service_config import ServiceConfig

CONFIGURATIONS = (ModelConfig, TrainingConfig, SamplingConfig, ServiceConfig)


def default_in_words(default: object) -> str:
    """A default as a table cell; nothing for a setting that is left out by default."""
    if default is None or default in ((), {}):
        return ""
    return f"`{default!r}`" if not isinstance(default, str) else f"`{default}`" if default else "empty"


def range_in_words(setting: Setting, kind: Any) -> str:
    """What values are allowed, with what the ends of the range mean."""
    words = setting.must(KINDS[kind]) + (f" ({setting.hint})" if setting.hint else "")
    return words + (", or [position, value] pairs" if setting.varies else "")


def table(configuration: type) -> str:
    """One configuration as a Markdown section: what it is, and a row for each field."""
    said = (configuration.__doc__ or "").strip()
    found = [f"## {configuration.__name__}", "", said, "", "| setting | default | allowed | unit | meaning |", "|---|---|---|---|---|"]
    for field, setting in settings_of(configuration):
        kind, _ = types_of(configuration)[field.name]
        default = default_in_words(default_of(field))
        cells = (f"`{field.name}`", default, range_in_words(setting, kind), setting.unit, setting.meaning)
        found.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(found)


def settings_tables() -> str:
    """All of them, one below the other."""
    return "\n\n".join(table(configuration) for configuration in CONFIGURATIONS)
