"""Holds the settings of a service: the database, its limits, and its keys. Imports no numpy.

The fields with a `Setting` are the one table of the service's settings: the options of `serve`, the environment variables
(`CHARLOOM_` and the name in capitals) and docs/settings.md are made from it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import InvalidSetting
from model.settings import Settings, setting

LOG_FORMATS = ("lines", "json")
LOG_LEVELS = ("info", "warning", "error")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Nothing in it could end an attribute or a header, or lead to another host as //example.org does.
ROOT_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
# The first parts of the service's own paths: below one of them, nothing tells whether a path still has the prefix.
OWN_PATHS = frozenset(
    {"detokenize", "docs", "generate", "health", "metrics", "openapi.json", "ready", "static", "tokenize", "tokenizer_info", "v1"}
)
# As browsers send it: https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]+)?")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}  # which browsers leave out


@dataclass(frozen=True, kw_only=True)
class ServiceConfig(Settings):
    """The limits of one service, so that no client can use all of it: `max_rows` is `--max-rows` of `serve`, or CHARLOOM_MAX_ROWS."""

    # fmt: off
    max_body: int = setting(2**20, "the largest body of a request that is no upload", unit="bytes", at_least=1024, at_most=2**30)
    max_upload: int = setting(4_000_000_000, "the largest file that can be uploaded", unit="bytes", at_least=1, at_most=10**13)
    upload_memory: int = setting(2**28, "memory that uploads take together, packed ones most", unit="bytes", at_least=0, at_most=10**13)
    max_files: int = setting(1000, "corpora that are kept; more cannot be uploaded", unit="files", at_least=0, at_most=10**9)
    min_disk: int = setting(200_000_000, "room that is left on the disk (2 MB or more)", unit="bytes", at_least=0, at_most=10**15)
    max_prompt: int = setting(8192, "symbols of a prompt that are read: its last ones", unit="symbols", at_least=1, at_most=10**9)
    max_length: int = setting(100_000, "symbols that one text may have", unit="symbols", at_least=1, at_most=10**9)
    max_texts: int = setting(64, "texts that one request may ask for", unit="texts", at_least=1, at_most=1024)
    max_records: int = setting(1000, "records that one request may ask for", unit="records", at_least=1, at_most=1_000_000)
    max_rows: int = setting(64, "texts that are written at the same time", unit="texts", at_least=1, at_most=1024)
    max_waiting: int = setting(32, "requests that wait before others are refused", unit="requests", at_least=0, at_most=4096)
    max_logprobs: int = setting(1_000_000, "log-probabilities of texts written at the same time", unit="numbers", at_least=0, at_most=10**9)
    max_followers: int = setting(16, "clients that follow training jobs at the same time", unit="clients", at_least=0, at_most=1024)
    max_seconds: float = setting(600.0, "time that a request for text may take, waiting included", unit="seconds", above=0, at_most=86400)
    workers: int = setting(1, "training jobs that it carries out at once; 0: none", unit="jobs", at_least=0, at_most=256)
    max_jobs: int = setting(100, "training jobs that wait or run; more cannot be ordered", unit="jobs", at_least=0, at_most=10**6)
    max_job_steps: int | None = setting(None, "steps that a training job may have", unit="steps", at_least=1, at_most=1_000_000_000)
    max_job_time: float = setting(86_400.0, "time that a training job may take", unit="seconds", above=0, at_most=10**9)
    caller_requests: int = setting(60_000, "requests for texts that one caller may send", unit="a minute", at_least=1, at_most=10**9)
    caller_symbols: int = setting(60_000_000, "symbols read and written for one caller", unit="a minute", at_least=1, at_most=10**12)
    caller_uploads: int = setting(8, "uploads, and other large bodies, of one caller at a time", unit="bodies", at_least=1, at_most=12)
    caller_jobs: int = setting(50, "training jobs of one caller that wait or run", unit="jobs", at_least=0, at_most=10**6)
    model_memory: int = setting(2**29, "memory of models that wait to be used again", unit="bytes", at_least=0, at_most=10**13)
    trusted_proxies: tuple[str, ...] = setting((), "proxies whose X-Forwarded-... headers count: addresses or networks, by commas")
    root_path: str = setting("", "the path under which a reverse proxy publishes the service, such as /charloom")
    allow_origin: tuple[str, ...] = setting((), "origins whose web pages may call, such as https://example.org; * for all, if keys are set")
    log_format: str = setting("lines", "how the log is written, which goes to standard error", choices=LOG_FORMATS)
    log_level: str = setting("info", "the least that is logged; info has a line for each request", choices=LOG_LEVELS)
    # fmt: on

    db: Path
    loopback: bool = True  # whether only this machine can reach it
    keys: tuple[str, ...] = field(default=(), repr=False)  # hashes of keys that are valid beside the stored ones

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "trusted_proxies", parts_of(self.trusted_proxies))
        assert self.networks is not None
        object.__setattr__(self, "root_path", as_root_path(self.root_path))
        object.__setattr__(self, "allow_origin", tuple(map(as_origin, parts_of(self.allow_origin))))

    @property
    def networks(self) -> tuple[Network, ...]:
        """`trusted_proxies` as networks. Raises `InvalidSetting`."""
        try:
            return tuple(ipaddress.ip_network(value := each, strict=False) for each in self.trusted_proxies)
        except ValueError:
            must = "a list of addresses or networks"
            raise InvalidSetting("trusted_proxies", value, must, "such as 127.0.0.1 or 10.0.0.0/8; a name is not enough") from None


def parts_of(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts of values that were given one by one, or several separated by commas or spaces."""
    return tuple(each for value in values for each in re.split(r"[,\s]+", value) if each)


def as_root_path(path: str) -> str:
    """Return a path prefix without its last slash. Raises `InvalidSetting`."""
    found = path.rstrip("/")
    if not ROOT_PATH.fullmatch(found):
        raise InvalidSetting("root_path", path, "a path that begins with /, of letters, digits and . _ ~ -", "such as /charloom")
    if found[1:].partition("/")[0] in OWN_PATHS:
        raise InvalidSetting("root_path", path, "another path than the service's own", "such as /charloom")
    return found


def as_origin(origin: str) -> str:
    """Return an origin as browsers send it, or `*`. Raises `InvalidSetting`."""
    found = origin.lower().rstrip("/")
    found = found.removesuffix(DEFAULT_PORTS.get(found.partition("://")[0], ""))
    if found != "*" and not ORIGIN.fullmatch(found):
        raise InvalidSetting("allow_origin", origin, "a scheme and a host, without a path, or *", "such as https://example.org:8443")
    return found
