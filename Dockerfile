# syntax=docker/dockerfile:1
# `adxingestor standalone` as a container: the package of deploy/package.sh on an image that holds certificates, time zones
# and nothing to log in with. What to mount and set is in docs/standalone.md.

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends musl-tools unzip zip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target <<BUILD
    set -eu
    target=$(uname --machine)-unknown-linux-musl
    rustup target add "$target"
    deploy/package.sh --target "$target" --out /package.zip
    unzip -q /package.zip -d /app
    mkdir /state
BUILD

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /app /app
# A new volume takes over who owns the folder it is mounted on: the user `nonroot` of the image.
COPY --from=build --chown=65532:65532 /state /state
USER 65532:65532
ENV STATE_STORE=sqlite:/state/adxingestor.db
VOLUME /state
EXPOSE 7071
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/app/bin/adxingestor", "health"]
ENTRYPOINT ["/app/bin/adxingestor"]
CMD ["standalone", "--app-root", "/app", "--address", "0.0.0.0", "--keys", "/keys/keys.json"]
