# The service in an image that runs as a user of its own and writes only to its state folder. Nothing
# secret goes into it: database, key and clients are told to the container, in files.
#     docker build --tag myositis-cds .

FROM python:3.11.14-slim-bookworm AS build
# The rule engine is compiled when it is installed, by what Debian's release has at that moment: none
# of it is in the image, and Debian keeps no older version that could be named.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml constraints.txt README.md ./
COPY cds cds
COPY rules rules
COPY fhir_examples fhir_examples
RUN python -m venv /opt/myositis-cds \
    && PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
       /opt/myositis-cds/bin/pip install --no-cache-dir '.[postgresql,tracing]'

FROM python:3.11.14-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin cds \
    && install --directory --owner=10001 --mode=0700 /var/lib/myositis-cds
COPY --from=build /opt/myositis-cds /opt/myositis-cds
ENV PATH=/opt/myositis-cds/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CDS_HOST=0.0.0.0 \
    CDS_PORT=8000 \
    CDS_STATE=/var/lib/myositis-cds
USER 10001
WORKDIR /tmp
VOLUME /var/lib/myositis-cds
EXPOSE 8000
STOPSIGNAL SIGTERM
# By no proxy, which Docker may name in the environment of every container.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os; asked = http.client.HTTPConnection('127.0.0.1', int(os.environ['CDS_PORT']), timeout=2); asked.request('GET', '/health/live'); raise SystemExit(asked.getresponse().status != 200)"]
ENTRYPOINT ["cds"]
CMD ["serve"]
