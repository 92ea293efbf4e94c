"""One makes an index, the others can see how far it is, and a claim ends with whoever has it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.cache import Key
from service.novelty.claims import STARTING, Claim, Progress, progress

KEY = Key("a" * 64, "suffixes", ())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "x.db.cache"


def test_others_see_how_far_it_is(folder: Path) -> None:
    assert progress(folder, KEY) is None
    with Claim(folder, KEY) as claim:
        assert progress(folder, KEY) == STARTING
        claim.tell("sorting", 0.123456)
        assert progress(folder, KEY) == Progress("sorting", 0.123)
        claim.tell("writing", 1.0)
        assert progress(folder, KEY) == Progress("writing", 1.0)
        assert progress(folder, KEY._replace(text="b" * 64)) is None
    assert progress(folder, KEY) is None
    assert list(folder.iterdir()) == []


def test_a_failure_ends_the_claim(folder: Path) -> None:
    with pytest.raises(RuntimeError), Claim(folder, KEY):
        raise RuntimeError
    assert progress(folder, KEY) is None


def test_a_report_that_cannot_be_read_is_a_beginning(folder: Path) -> None:
    with Claim(folder, KEY):
        (folder / f"{KEY.file_name}.claim").write_text("[")
        assert progress(folder, KEY) == STARTING


def test_the_others_wait_for_their_turn(folder: Path) -> None:
    inside, most, done = 0, 0, []

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with Claim(folder, KEY) as claim:
                inside += 1
                most = max(most, inside)
                claim.tell("reading", 0.5)
                assert progress(folder, KEY) == Progress("reading", 0.5)
                inside -= 1
        done.append(True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, len(done)) == (1, 4)


def test_the_claim_of_a_killed_process_is_free(folder: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom service.cache import Key\nfrom service.novelty.claims import Claim\n"
        f"with Claim(Path({str(folder)!r}), Key('a' * 64, 'suffixes', ())) as claim:\n"
        "    claim.tell('sorting', 0.5)\n    print('mine', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"mine\n"
        assert progress(folder, KEY) == Progress("sorting", 0.5)
        process.kill()
        process.wait()
    assert progress(folder, KEY) is None
    with Claim(folder, KEY):
        assert progress(folder, KEY) == STARTING
