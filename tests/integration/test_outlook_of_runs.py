"""What is said at the end of real runs about twice the time, beside what a run of about twice the passes then gained.

The curves are of runs whose settings `--budget` chose, and of some of a number of steps, validated six times: epochs, training loss
since the validation before, validation loss.
"""

from __future__ import annotations

from statistics import mean
from typing import NamedTuple

import pytest

from service.store import Metric
from service.training.learning_curve import Outlook, outlook, validations


class Past(NamedTuple):
    """A run, and how much lower the best validation loss of the longer one was."""

    gained: float
    curve: list[tuple[float, float, float]]


# fmt: off
PAST = {
    "English, 2 kB": Past(0.191, [
        (0.27, 3.93, 3.622), (0.53, 3.39, 3.098), (0.80, 3.09, 2.960), (1.07, 2.95, 2.827), (1.33, 2.96, 2.812),
        (1.60, 2.63, 2.738), (1.87, 2.63, 2.656), (2.13, 2.75, 2.594), (2.40, 2.52, 2.521), (2.67, 2.27, 2.473),
        (2.93, 2.49, 2.419), (3.20, 2.45, 2.377), (3.47, 2.15, 2.334), (3.73, 2.13, 2.292), (4.00, 2.34, 2.260),
        (4.27, 2.21, 2.252), (4.53, 1.91, 2.250), (4.80, 2.07, 2.237), (5.07, 2.11, 2.227), (5.33, 2.15, 2.223),
        (5.60, 1.83, 2.219), (5.87, 1.92, 2.217), (6.13, 2.14, 2.216),
    ]),
    "English, 20 kB": Past(-0.002, [
        (0.65, 2.21, 2.144), (1.30, 1.70, 1.849), (1.94, 1.44, 1.719), (2.59, 1.42, 1.660), (3.24, 1.31, 1.650),
        (3.89, 1.19, 1.586), (4.54, 1.27, 1.563), (5.18, 1.16, 1.521), (5.83, 1.09, 1.526), (6.48, 1.17, 1.506),
        (7.13, 1.05, 1.442), (7.77, 1.00, 1.452), (8.42, 1.00, 1.460), (9.07, 0.94, 1.400), (9.72, 0.90, 1.431),
        (10.37, 0.90, 1.409), (11.01, 0.83, 1.381), (11.66, 0.88, 1.383), (12.31, 0.85, 1.362), (12.96, 0.78, 1.380),
        (13.11, 0.91, 1.373),
    ]),
    "Korean, 2 kB": Past(0.008, [
        (0.27, 3.81, 3.237), (0.53, 3.02, 2.510), (0.80, 2.40, 1.933), (1.07, 1.76, 1.421), (1.33, 1.32, 1.117),
        (1.60, 1.21, 1.008), (1.87, 1.07, 0.974), (2.13, 0.99, 0.917), (2.40, 0.97, 0.884), (2.67, 0.99, 0.902),
        (2.93, 0.96, 0.913), (3.20, 0.92, 0.901), (3.47, 0.95, 0.892), (3.73, 0.95, 0.888), (4.00, 0.91, 0.880),
        (4.27, 0.90, 0.875), (4.53, 0.89, 0.875), (4.80, 0.93, 0.878), (5.07, 0.87, 0.879), (5.33, 0.86, 0.878),
        (5.60, 0.92, 0.878), (5.87, 0.87, 0.878), (6.13, 0.89, 0.878),
    ]),
    "sentences, 1 kB": Past(0.072, [
        (0.17, 3.81, 3.708), (0.33, 3.73, 3.597), (0.50, 3.55, 3.459), (0.67, 3.43, 3.290), (0.83, 3.31, 3.121),
        (1.00, 3.07, 3.044), (1.17, 2.88, 3.055), (1.33, 2.95, 3.045), (1.50, 2.89, 3.035), (1.67, 2.86, 3.031),
        (1.83, 2.80, 3.028), (2.00, 2.57, 3.027), (2.17, 2.62, 3.022), (2.33, 2.54, 3.016), (2.50, 2.65, 3.010),
        (2.67, 2.51, 3.002), (2.83, 2.53, 2.993), (3.00, 2.45, 2.986), (3.17, 2.60, 2.979), (3.33, 2.44, 2.974),
        (3.50, 2.47, 2.969), (3.67, 2.42, 2.965), (3.83, 2.47, 2.961), (4.00, 2.40, 2.959), (4.17, 2.48, 2.957),
        (4.33, 2.35, 2.956), (4.50, 2.36, 2.955), (4.67, 2.38, 2.955),
    ]),
    "Python, 100 kB": Past(0.006, [
        (0.67, 1.86, 1.296), (1.53, 1.25, 1.084), (2.56, 1.06, 1.000), (3.47, 0.96, 0.950), (4.40, 0.89, 0.905),
        (5.24, 0.83, 0.882), (6.18, 0.78, 0.873), (6.61, 0.76, 0.869),
    ]),
    "Python, 400 steps": Past(0.148, [
        (0.05, 2.12, 1.901), (0.10, 1.54, 1.764), (0.15, 1.51, 1.679), (0.21, 1.49, 1.583), (0.25, 1.45, 1.531), (0.30, 1.41, 1.504),
    ]),
    "Python, 800 steps": Past(0.167, [
        (0.10, 1.84, 1.778), (0.20, 1.52, 1.700), (0.30, 1.42, 1.638), (0.43, 1.28, 1.494), (0.53, 1.11, 1.373), (0.61, 1.28, 1.356),
    ]),
    "Korean, 400 steps": Past(0.114, [
        (0.21, 3.17, 2.214), (0.41, 2.24, 2.001), (0.62, 2.14, 1.889), (0.88, 2.03, 1.773), (1.09, 1.95, 1.735), (1.29, 1.90, 1.721),
    ]),
    "names, 400 steps": Past(0.091, [
        (0.23, 2.37, 2.015), (0.47, 1.91, 1.865), (0.70, 1.81, 1.789), (0.99, 1.76, 1.725), (1.22, 1.69, 1.699), (1.45, 1.64, 1.692),
    ]),
    "names, 800 steps": Past(0.050, [
        (0.48, 2.16, 1.869), (0.96, 1.79, 1.740), (1.44, 1.69, 1.682), (2.04, 1.62, 1.629), (2.52, 1.55, 1.605), (2.91, 1.53, 1.601),
    ]),
    "English, 300 steps": Past(0.153, [
        (0.10, 2.35, 2.036), (0.20, 1.78, 1.945), (0.29, 1.66, 1.816), (0.42, 1.59, 1.733), (0.51, 1.54, 1.696), (0.61, 1.53, 1.663),
    ]),
    "English, 600 steps": Past(0.077, [
        (0.20, 2.12, 1.917), (0.41, 1.68, 1.779), (0.61, 1.59, 1.650), (0.81, 1.55, 1.602), (1.02, 1.51, 1.535), (1.22, 1.48, 1.530),
    ]),
    "English, 1200 steps": Past(0.040, [
        (0.41, 1.92, 1.783), (0.81, 1.59, 1.663), (1.22, 1.52, 1.598), (1.63, 1.44, 1.504), (2.04, 1.41, 1.456), (2.44, 1.37, 1.452),
    ]),
    "English, 300 kB, 500 steps": Past(0.019, [
        (0.54, 2.18, 2.039), (1.09, 1.70, 1.946), (1.63, 1.59, 1.894), (2.31, 1.50, 1.856), (2.86, 1.45, 1.834), (3.40, 1.40, 1.828),
    ]),
}
# fmt: on


def told(past: Past, count: int | None = None, seconds_left: float = 0.0) -> Outlook:
    """The outlook after so many validations, or at the end."""
    metrics = [
        Metric(step=number, epoch=epoch, loss=training, validation_loss=validation, seconds=epoch)
        for number, (epoch, training, validation) in enumerate(past.curve[:count], 1)
    ]
    return outlook(validations(metrics), seconds_left)


def test_the_gain_of_a_longer_run_is_told_about_right() -> None:
    errors = [abs((told(past).gain or 0.0) - past.gained) for past in PAST.values()]
    assert mean(errors) < 0.04
    assert max(errors) < 0.1


def test_a_text_that_is_known_by_heart_is_done_though_its_curve_still_falls() -> None:
    """The falling learning rate lowers the loss to the end; the training loss is a third lower."""
    assert told(PAST["English, 20 kB"]).verdict == "done"
    assert told(PAST["English, 2 kB"]).verdict == "learning"


@pytest.mark.parametrize("name", [name for name, past in PAST.items() if len(past.curve) > 6])
def test_in_the_middle_the_rest_of_the_run_is_told_about_right(name: str) -> None:
    past = PAST[name]
    middle = len(past.curve) // 2
    epoch, _, loss = past.curve[middle - 1]
    end, _, last = past.curve[-1]
    found = told(past, middle, end - epoch)
    assert found.verdict in ("learning", "slowing")
    assert abs((found.gain or 0.0) - (loss - last)) < 0.15
