# A hospital's site. Build from the project's folder: docker build -f deploy/docker/site.Dockerfile -t wardround-site .
# Run: docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --gpus all \
#        -v /var/lib/wardround:/var/lib/wardround -v /data:/data:ro wardround-site
# The system, which has Python 3.11 with venv.
ARG BASE=python:3.11-slim
FROM ${BASE} AS build
# Where pip looks: a mirror, or a folder of wheels where there is no network (`deploy/images.sh`).
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY wardround wardround
COPY shared shared
COPY client client
COPY server server
COPY simulate simulate
RUN python3 -m venv /opt/wardround \
    && /opt/wardround/bin/pip install --no-cache-dir -c constraints.txt '.[dimse,postgres]'

FROM ${BASE}
# Jobs with [training] compile need a compiler at the site: docker build --build-arg COMPILER=g++ ...
ARG COMPILER=""
RUN if [ -n "$COMPILER" ]; then apt-get update && apt-get install -y --no-install-recommends "$COMPILER" \
    && rm -rf /var/lib/apt/lists/*; fi
COPY --from=build /opt/wardround /opt/wardround
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin wardround \
    && mkdir -m 0700 /var/lib/wardround && chown 10001:10001 /var/lib/wardround
USER 10001:10001
ENV FLWR_TELEMETRY_ENABLED=0 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
VOLUME /var/lib/wardround
WORKDIR /var/lib/wardround
# Exec form: no shell is started, and signals reach the service.
ENTRYPOINT ["/opt/wardround/bin/wardround"]
CMD ["client", "start", "--dir", "/var/lib/wardround"]
