"""Figures as tables."""

from __future__ import annotations

import json
from typing import Any

from bench import report
from bench.measuring import compared

SETTINGS = {
    "model_config": {"cell": "gru", "num_layers": 2, "hidden_size": 384, "dropout": 0.25},
    "training_config": {"batch_size": 16, "seq_length": 64, "learning_rate": 0.004},
}


def words(line: str) -> list[str]:
    return line.split()


def test_training_shows_rates_spread_ratio_and_share() -> None:
    rates = compared({"charloom": [30_000.0, 20_000.0, 40_000.0], "pytorch": [10_000.0, 15_000.0, 20_000.0]})
    found = {
        "pytorch_threads": 2,
        "peak": 2.5e11,
        "rows": [{"network": "lstm 2x512, 64x64", "threads": 2, "share_of_peak": 0.7, **rates}],
        "mean_ratio": 2.0,
        "lowest_ratio": {"network": "lstm 2x512, 64x64", "ratio": 2.0},
    }
    text = report.training(json.loads(json.dumps(found)))
    assert words(text.splitlines()[2])[3:] == ["2", "30,000", "20,000-40,000", "15,000", "10,000-20,000", "2.00", "0.70"]
    assert "geometric mean 2.00, lowest 2.00 (lstm 2x512, 64x64); peak 250 GFLOP/s" in text


def test_sampling_names_the_ratio_to_the_faster_peer_and_to_pytorch() -> None:
    rates = compared({"charloom": [30.0], "pytorch": [10.0], "onnxruntime": [20.0]})
    found = {
        "rows": [{"network": "lstm 1x128, 1 text", "pytorch_ratio": 3.0, **rates}],
        "mean_ratio": 1.5,
        "lowest_ratio": {"network": "lstm 1x128, 1 text", "ratio": 1.5},
    }
    text = report.sampling(found)
    assert words(text.splitlines()[2])[-2:] == ["1.50", "3.00"]
    assert "geometric mean 1.50, lowest 1.50 (lstm 1x128, 1 text)" in text


def test_memory_shows_what_was_trained_and_when_it_began() -> None:
    rows: list[dict[str, Any]] = [
        {"what": "training", "peak": 123_400_000, "processes": 2, "seconds": 20.04, "first_step": 1.26, **SETTINGS},
        {"what": "sampling", "peak": 35_000_000, "processes": 1, "seconds": 6.9},
    ]
    training, sampling = report.memory({"rows": rows}).splitlines()[2:]
    assert words(training) == "training 123 MB 2 1.3 s 20.0 s gru 2x384, dropout 0.25, 16x64, rate 0.004".split()
    assert words(sampling)[1:] == ["35", "MB", "1", "-", "6.9", "s"]


def test_memory_that_cannot_be_told_is_skipped_with_a_reason() -> None:
    assert report.memory({"skipped": "only Linux tells", "rows": []}) == "memory: not measured, only Linux tells"


def test_quality_shows_when_each_loss_was_reached() -> None:
    found = {
        "text": "play.txt",
        "targets": [1.9, 1.7],
        "rows": [
            {
                "budget": "1m",
                "charloom": {"reached": [4.04, None], "best": 1.71234},
                "pytorch": {"reached": [None, None], "best": 2.0},
                **SETTINGS,
            }
        ],
    }
    lines = report.quality(found).splitlines()
    assert words(lines[1])[3:] == ["Charloom", "1m", "PyTorch", "1m"]
    assert [words(line) for line in lines[2:5]] == [["1.9", "4.0", "s", "-"], ["1.7", "-", "-"], ["best", "1.7123", "2.0000"]]
    assert lines[5] == "1m: gru 2x384, dropout 0.25, 16x64, rate 0.004"


def test_serving_tells_the_lowest_of_each_and_what_is_left() -> None:
    found = {
        "network": "lstm 2x256",
        "texts": 64,
        "length": 500,
        "streams": {
            "charloom": [9000.0, 8000.0],
            "bare": [10_000.0, 12_000.0],
            "plain": {1: [300.0, 400.0], 2: [200.0, 100.0]},
            "plain_ratio": 22.857,
            "bare_ratio": 0.667,
        },
        "first": {"idle_median": 0.012, "training_median": 0.0345},
        "crowd": {
            "clients": 1000,
            "statuses": {"200": 96, "429": 904},
            "written": 96,
            "seconds": 6.25,
            "peak": 123_400_000,
            "threads": 150,
            "threads_before": 150,
            "rows": 0,
            "waiting": 0,
        },
    }
    lines = report.serving(found).splitlines()
    assert lines[0] == "serving lstm 2x256, 64 streams of 500 characters, characters per second"
    assert words(lines[2])[-3:] == ["8,000", "8,000", "9,000"]
    assert words(lines[4])[-4:] == ["threads", "300", "300", "400"]
    assert lines[6] == "22.9 times the plain service, 67% of the bare Sampler (lowest run)"
    assert lines[7] == "first characters, median: 12 ms, 34 ms during a job"
    assert lines[8] == "1,000 clients at once, answered in 6.2 s: 96 with 200, 904 with 429, 96 texts in full, 123 MB at most"
    assert lines[9] == "afterwards 0 rows, 0 waiting, 150 threads (150 before)"
    assert report.serving({"network": "lstm 2x256", "first": found["first"]}).splitlines() == [lines[7]]


def test_a_busy_machine_is_named() -> None:
    machine = {"processor": "P", "cores": 2, "python": "3", "numpy": "2", "arithmetic": "K", "torch": "2", "pytorch_kernels": "T"}
    machine |= {"onnxruntime": "1"}
    assert "note:" in report.heading({**machine, "load": 1.5})
    assert "note:" not in report.heading({**machine, "load": 0.1})
