"""Commands watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.watching import family, pss, unwatchable, watch

linux = pytest.mark.skipif(bool(unwatchable()), reason="only Linux tells the memory of other processes")


def test_lines_are_kept_with_their_times() -> None:
    watched = watch([sys.executable, "-c", "print('a'); print('ü')"], memory=False)
    assert [line for _, line in watched.lines] == ["a\n", "ü\n"]
    assert 0 < watched.lines[0][0] <= watched.lines[1][0] <= watched.seconds


def test_a_command_that_fails_is_told_of_with_its_last_words() -> None:
    with pytest.raises(RuntimeError, match=r"status 3: it broke"):
        watch([sys.executable, "-c", "import sys; print('it broke', file=sys.stderr); sys.exit(3)"], memory=False)


def test_what_forces_blas_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CHARLOOM_TEST", "kept")
    script = "import os; print([os.environ.get(name) for name in ('OPENBLAS_CORETYPE', 'OMP_NUM_THREADS', 'CHARLOOM_TEST')])"
    assert watch([sys.executable, "-c", script], memory=False).lines[0][1] == "[None, None, 'kept']\n"


@linux
def test_children_of_children_belong_to_the_family() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the grandchild is there
        found = family(os.getpid())
        assert found[0] == os.getpid()
        assert len(family(process.pid)) == 2
        assert set(family(process.pid)) <= set(found)
        process.communicate(b"\n")


@linux
def test_memory_that_is_used_is_seen() -> None:
    script = "import time; block = b'x' * 80_000_000; time.sleep(0.4)"
    watched = watch([sys.executable, "-c", script])
    assert 80_000_000 < watched.peak < 160_000_000
    assert watched.processes == 1


@linux
def test_a_process_that_is_gone_has_none() -> None:
    assert pss(os.getpid()) > 1_000_000
    assert pss(2**30) == 0
