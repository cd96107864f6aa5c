# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# The manifest names them; they are not built.
COPY tests tests
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin parqueduct && cp target/release/parqueduct /parqueduct

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home parqueduct
COPY --from=build /parqueduct /usr/local/bin/parqueduct
USER 10001
ENTRYPOINT ["parqueduct"]
CMD ["run", "--config", "/etc/parqueduct/parqueduct.toml"]
