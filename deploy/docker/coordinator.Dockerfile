# The coordinator. Build from the project's folder: docker build -f deploy/docker/coordinator.Dockerfile -t wardround-coordinator .
# PyTorch comes without CUDA, which a coordinator never needs. The federation is founded by the same image:
#   docker run ... wardround-coordinator server init /var/lib/wardround-coordinator --name NAME --host HOST
# Run: docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -p 9443:9443 -p 9444:9444 \
#        -v /var/lib/wardround-coordinator:/var/lib/wardround-coordinator -i -e WARDROUND_CA_PASSPHRASE_FILE=- wardround-coordinator < passphrase
# The system, which has Python 3.11 with venv.
ARG BASE=python:3.11-slim
FROM ${BASE} AS build
# Where pip looks: a mirror, or a folder of wheels where there is no network (`deploy/images.sh`).
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY wardround wardround
COPY shared shared
COPY client client
COPY server server
COPY simulate simulate
RUN python3 -m venv /opt/wardround && /opt/wardround/bin/pip install --no-cache-dir -c constraints.txt .

FROM ${BASE}
COPY --from=build /opt/wardround /opt/wardround
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin wardround \
    && mkdir -m 0700 /var/lib/wardround-coordinator && chown 10001:10001 /var/lib/wardround-coordinator
USER 10001:10001
ENV FLWR_TELEMETRY_ENABLED=0 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
VOLUME /var/lib/wardround-coordinator
WORKDIR /var/lib/wardround-coordinator
# Exec form: no shell is started, and signals reach the service.
ENTRYPOINT ["/opt/wardround/bin/wardround"]
CMD ["server", "start", "--dir", "/var/lib/wardround-coordinator"]
