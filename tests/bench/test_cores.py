"""Of the comparison of cores: the speed is that of steady work, and the options are those of the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import cli
from bench.cores import NETWORKS, options_of, speed


def test_the_speed_is_what_the_steps_told_after_the_first() -> None:
    lines: list[dict[str, object]] = [
        {"event": "prepared"},
        *({"event": "step", "characters_per_second": rate} for rate in (9, 1000, 2000, 5000)),
    ]
    assert speed([(1.0, json.dumps(line)) for line in [*lines, {"event": "end"}]]) == 2000
    assert speed([(1.0, json.dumps(line)) for line in lines[:2]]) == 9


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_command_line_knows_the_options(network: object) -> None:
    result = CliRunner().invoke(cli.main, ["train", "no-such-text", *options_of(network, 3)])  # type: ignore[arg-type]
    assert result.exit_code == 1
    assert "no-such-text" in result.output
