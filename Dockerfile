# One image for every role; docker-compose.yml says which. Nothing in it needs root, and only /data is written to.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /build
ENV UV_PROJECT_ENVIRONMENT=/opt/zmart UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.9.5
COPY . .
RUN uv sync --locked --no-dev --no-editable --no-cache

FROM python:3.11.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin zmart \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data
COPY --from=build /opt/zmart /opt/zmart
ENV PATH=/opt/zmart/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ZMART_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
ENTRYPOINT ["zmart"]
CMD ["--help"]
