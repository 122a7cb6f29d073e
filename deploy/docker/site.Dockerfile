# A hospital's site. Build from the project's folder: docker build -f deploy/docker/site.Dockerfile -t wardround-site .
# Run: docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --gpus all \
#        -v /var/lib/wardround:/var/lib/wardround -v /data:/data:ro wardround-site
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY wardround wardround
COPY shared shared
COPY client client
COPY server server
COPY simulate simulate
RUN python -m venv /opt/wardround && /opt/wardround/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.11-slim
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
