# The image: `docker run -p 8000:8000 -v charloom:/data charloom` trains a first model on an empty volume and serves it.
# The address in its log holds the key (/#key=...), unless CHARLOOM_API_KEYS is set.
# It needs no network, no root and no writable file system but /data.

# A bot (renovate.json) adds the digest, NAME:TAG@sha256:..., and renews it; --build-arg takes another image of CPython 3.11 or newer.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.txt requirements-build.txt ./
# pip compiles what it installs, so that the read-only container starts from bytecode.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/charloom \
    && python -m pip --python /opt/charloom/bin/python install --quiet --require-hashes -r requirements.txt \
    && python -m pip install --quiet --require-hashes -r requirements-build.txt
COPY . .
# The C library is compiled by what pip fetches, because this image has no compiler. The next one gets the library alone. Nor does it get
# pip and wheel, which packages name as their dependencies, and which nothing in the container uses.
RUN --mount=type=cache,target=/root/.cache/pip \
    CHARLOOM_BUILD_KERNELS=require python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m pip --python /opt/charloom/bin/python install --quiet --no-deps /wheels/*.whl \
    && python -m pip --python /opt/charloom/bin/python uninstall --quiet --yes pip wheel \
    && install --directory --owner=10001 --group=10001 /data

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Charloom" \
      org.opencontainers.image.description="Trains small character-level recurrent networks on your own text and serves them" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/charloom /opt/charloom
COPY --from=build --chown=10001:10001 /data /data
RUN python -m pip uninstall --quiet --yes --root-user-action=ignore pip setuptools wheel \
    && python -c "import ensurepip, shutil; shutil.rmtree(ensurepip.__path__[0])" \
    && test -z "$(find / -xdev \( -iname 'pip-*' -o -iname 'setuptools-*' -o -iname 'wheel-*' -o -name ensurepip \))"
ENV PATH=/opt/charloom/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CHARLOOM_DB=/data/charloom.db
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import os; from urllib.request import urlopen; urlopen(f'http://127.0.0.1:{os.environ.get(\"CHARLOOM_PORT\", 8000)}/health', timeout=4)"]
ENTRYPOINT ["charloom"]
CMD ["serve", "--host", "0.0.0.0", "--train-default"]
