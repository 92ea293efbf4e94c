"""What was found, as text: a table for each benchmark."""

from __future__ import annotations

from typing import Any

from bench.measuring import OURS, TITLES
from service.terminal.text import table

Found = dict[str, Any]

MB = 10**6


def heading(machine: Found) -> str:
    """The machine and the versions in three lines, and a warning where others were using it."""
    cores = machine["cores"]
    lines = [
        f"{machine['processor']}, {cores} core{'s' if cores > 1 else ''}",
        f"Python {machine['python']}, numpy {machine['numpy']}; Charloom by {machine['arithmetic']}",
        f"peers: torch {machine['torch']} ({machine['pytorch_kernels']}), onnxruntime {machine['onnxruntime']}",
    ]
    if machine["load"] > cores / 4:
        lines.append(f"note: other programs are at work here (load {machine['load']:.2f}); look at the spread before believing a figure")
    return "\n".join(lines)


def training(found: Found) -> str:
    """Characters per second of all, the ratio to PyTorch at its best, shares of the peak."""
    names = [name for name in TITLES if name in found["rows"][0]]
    rows = [
        [row["network"], f"{row['threads']}", *_rates(row, names), f"{row['ratio']:.2f}", f"{row['share_of_peak']:.2f}"]
        for row in found["rows"]
    ]
    return (
        f"training, characters per second; PyTorch with {found['pytorch_threads']} threads\n"
        f"{table(['network', 'threads', *_titles(names), 'ratio', 'share of peak'], rows)}\n"
        f"{_ratios(found)}; peak {found['peak'] / 1e9:.0f} GFLOP/s (np.dot of large float32 matrices)"
    )


def sampling(found: Found) -> str:
    """Characters per second of all, the ratio to the faster peer and to PyTorch."""
    names = [name for name in TITLES if name in found["rows"][0]]
    rows = [[row["network"], *_rates(row, names), f"{row['ratio']:.2f}", f"{row['pytorch_ratio']:.2f}"] for row in found["rows"]]
    return (
        f"sampling, characters per second, one thread\n{table(['network', *_titles(names), 'ratio', 'to PyTorch'], rows)}\n{_ratios(found)}"
    )


def memory(found: Found) -> str:
    """Peaks, and how long each command took."""
    if "skipped" in found:
        return f"memory: not measured, {found['skipped']}"
    rows = [
        [
            row["what"],
            f"{row['peak'] / MB:.0f} MB",
            f"{row['processes']}",
            _seconds(row.get("first_step")),
            _seconds(row["seconds"]),
            settings(row) if "model_config" in row else "",
        ]
        for row in found["rows"]
    ]
    return f"memory (PSS of all processes of a command)\n{table(['', 'peak', 'processes', 'first step', 'end', 'what was trained'], rows)}"


def cores(found: Found) -> str:
    """Characters per second of each way to use the cores."""
    ways = {
        "alone": "1 thread",
        "threads": f"{found['cores']} threads",
        "ranks": f"{found['cores']} ranks",
    }
    rows = [[row["network"], *(f"{row[way]['median']:,.0f}" if row[way] else "-" for way in ways)] for row in found["rows"]]
    return f"training 64x64 on {found['cores']} cores, characters per second\n{table(['network', *ways.values()], rows)}"


def serving(found: Found) -> str:
    """Throughput beside the plain service and the bare sampler, times to the first characters, and the crowd."""
    lines = []
    if streams := found.get("streams"):
        peers = {f"Flask and PyTorch, {threads} threads": rates for threads, rates in streams["plain"].items()}
        rows = [
            [name, f"{min(rates):,.0f}", " ".join(f"{each:,.0f}" for each in sorted(rates))]
            for name, rates in {"charloom over HTTP": streams["charloom"], "bare Sampler": streams["bare"], **peers}.items()
        ]
        lines += [
            f"serving {found['network']}, {found['texts']} streams of {found['length']} characters, characters per second",
            table(["", "lowest", "each run"], rows),
            f"{streams['plain_ratio']:.1f} times the plain service, {streams['bare_ratio']:.0%} of the bare Sampler (lowest run)",
        ]
    if first := found.get("first"):
        lines.append(f"first characters, median: {first['idle_median'] * 1e3:.0f} ms, {first['training_median'] * 1e3:.0f} ms during a job")
    if crowd := found.get("crowd"):
        statuses = ", ".join(f"{count} with {status}" for status, count in crowd["statuses"].items())
        told = f"{statuses}, {crowd['written']} texts in full, {crowd['peak'] / MB:.0f} MB at most"
        left = f"{crowd['rows']} rows, {crowd['waiting']} waiting, {crowd['threads']} threads ({crowd['threads_before']} before)"
        lines += [f"{crowd['clients']:,} clients at once, answered in {crowd['seconds']:.1f} s: {told}", f"afterwards {left}"]
    return "\n".join(lines)


def quality(found: Found) -> str:
    """Seconds to each loss, per budget and contender, and what was chosen."""
    head, columns = ["nats per character"], []
    for row in found["rows"]:
        for name in (OURS, "pytorch"):
            head.append(f"{TITLES[name]} {row['budget']}")
            columns.append([*map(_seconds, row[name]["reached"]), f"{row[name]['best']:.4f}"])
    labels = [*(f"{target:g}" for target in found["targets"]), "best"]
    cells = [list(each) for each in zip(labels, *columns, strict=True)]
    chosen = [f"{row['budget']}: {settings(row)}" for row in found["rows"]]
    return "\n".join([f"time to quality on {found['text']}", table(head, cells), *chosen])


PARTS = {"training": training, "sampling": sampling, "memory": memory, "cores": cores, "serving": serving, "quality": quality}


def settings(row: Found) -> str:
    """A network and how it reads, in a phrase."""
    model, how = row["model_config"], row["training_config"]
    size = f"{model['num_layers']}x{model['hidden_size']}"
    return f"{model['cell']} {size}, dropout {model['dropout']:g}, {how['batch_size']}x{how['seq_length']}, rate {how['learning_rate']:g}"


def _titles(names: list[str]) -> list[str]:
    return [text for name in names for text in (TITLES[name], "(spread)")]


def _rates(row: Found, names: list[str]) -> list[str]:
    """Median, and lowest to highest, of each contender."""
    return [text for name in names for text in (f"{row[name]['median']:,.0f}", f"{row[name]['lowest']:,.0f}-{row[name]['highest']:,.0f}")]


def _ratios(found: Found) -> str:
    lowest = found["lowest_ratio"]
    return f"ratio: to the faster peer; geometric mean {found['mean_ratio']:.2f}, lowest {lowest['ratio']:.2f} ({lowest['network']})"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
