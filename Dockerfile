# One small image for the three services and the tools; the first argument chooses what runs:
#   docker run … tillstream order-api/main.ts | cdc-reader/main.ts | cart-sink/main.ts | tools/main.ts migrate
# Production dependencies only, no root, and nothing is written below /: it runs with a read-only root file system (the
# reader spills huge transactions to /tmp, or to SPILL_DIRECTORY, for which a volume may be mounted on /spill). Node is the main process and gets SIGTERM itself.

# Another registry's copy of the same image may be named here; the tag stays exact.
ARG NODE_IMAGE=docker.io/library/node:26.10.0-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# Optional ones too: they are the type checker (an optional peer of a dependency's dependency) and a driver for Workers.
RUN npm ci --omit=dev --omit=optional --no-audit --no-fund

FROM ${NODE_IMAGE}
# Inside a container, loopback would reach nobody; which address of the host is published is the operator's choice.
ENV NODE_ENV=production HOST=0.0.0.0
# The commit that the image was built from, for metrics and --version.
ARG COMMIT=unknown
ENV TILLSTREAM_COMMIT=${COMMIT}
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY package.json ./
COPY schemas schemas
COPY kafka kafka
COPY service service
COPY order-api order-api
COPY cdc-reader cdc-reader
COPY cart-sink cart-sink
COPY tools tools
# An empty volume takes over whose folder it covers.
RUN install --directory --owner=1000 --group=1000 /spill /compiled
# `node` in the official image; by number, so that Kubernetes can tell that it is not root.
USER 1000:1000
# Compiled code, kept for every start: half the CPU of a start, and 20 MB less. Node takes it for the same user and flags only.
ENV NODE_COMPILE_CACHE=/compiled
RUN for service in order-api cdc-reader cart-sink; do \
    node --max-semi-space-size=8 --max-old-space-size=160 "$service/main.ts" --version; done
ENTRYPOINT ["node", "--max-semi-space-size=8", "--max-old-space-size=160"]
CMD ["order-api/main.ts"]
