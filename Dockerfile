# One image for every service of docker-compose.yml: Lab, Ray's nodes, the API, the dashboard, the command line.
#
#   docker build -t workbench:0.1.0 .
#   docker run --rm --read-only --tmpfs /tmp:size=1g,mode=1777 --shm-size 1g -p 127.0.0.1:8888:8888 workbench:0.1.0
#
# What can be written: /srv/data (state), /srv/reports and /tmp. `.ci/image` runs these steps where there is no Docker.
ARG PYTHON=3.11.14-slim-bookworm

# ---- build: the locked packages and the wheel, compiled ----
FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/venv && python -m venv tools
# Only what the lock depends on, so that a change of the code does not install everything anew.
COPY pyproject.toml requirements.lock ./
COPY .ci/part_of_lock.py .ci/
# The lock's one source distribution is built with the lock's setuptools.
RUN python .ci/part_of_lock.py > runtime.lock && python .ci/part_of_lock.py hatchling setuptools > build.lock \
    && tools/bin/pip install --no-compile --no-deps --only-binary :all: --require-hashes -r build.lock \
    && tools/bin/pip wheel --no-deps --no-build-isolation --require-hashes -r runtime.lock -w wheels \
    && tools/bin/pip --python /opt/venv/bin/python install --no-index --no-compile --no-deps wheels/*.whl \
    && rm -rf wheels
COPY . .
RUN tools/bin/python -m hatchling build -t wheel -d dist \
    && tools/bin/pip --python /opt/venv/bin/python install --no-index --no-compile --no-deps dist/*.whl \
    && tools/bin/pip --python /opt/venv/bin/python check
# A few packages ship templates that are no valid Python; what imports is tried instead.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib > /dev/null || true; \
    /opt/venv/bin/workbench --help > /dev/null

# ---- the image: no compiler, no cache ----
FROM python:${PYTHON}
LABEL org.opencontainers.image.title="workbench" \
      org.opencontainers.image.description="From a table of social-media engagement to an honest portfolio report" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="BSD-3-Clause"
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini=0.19.0-* \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 1000 workbench \
    && useradd --uid 1000 --gid 1000 --home-dir /srv/data/user --shell /usr/sbin/nologin --no-log-init workbench \
    && install -d -o 1000 -g 1000 -m 755 /srv/data /srv/data/user /srv/reports
COPY --from=build /opt/venv /opt/venv
COPY --chmod=755 .ci/container/enter .ci/container/healthy /usr/local/bin/
# gRPC's own resolver also asks a name server for what nobody has, and waits for it.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/srv/data/user \
    WORKBENCH_HOME=/srv/data \
    GRPC_DNS_RESOLVER=native \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /srv
USER 1000:1000
VOLUME ["/srv/data", "/srv/reports"]
EXPOSE 8000 8501 8888
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 CMD ["healthy"]
ENTRYPOINT ["tini", "--", "enter"]
CMD ["workbench", "lab", "data/notebooks", "--host", "0.0.0.0", "--no-browser"]
