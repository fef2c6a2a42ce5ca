#!/bin/sh
# Entry point of the Postgres containers of compose.yaml: the image's own (docker-library/postgres, 18/trixie: it runs as root,
# drops to `postgres`, and gives its arguments to the server, the first one on an empty volume included), with TLS and with the
# rules of pg_hba.conf beside this file in place of those that the image writes into the volume. So an older volume serves by
# them too. A renewed certificate is taken up by a restart.
set -eu

tls=/run/tls
# Postgres takes no key that others may read, and the mounted one is that (ops/make-env.sh).
install -d -o postgres -g postgres -m 0700 "$tls"
install -o postgres -g postgres -m 0600 /certificates/server.crt /certificates/server.key "$tls"
install -o postgres -g postgres -m 0600 "$(dirname "$0")/pg_hba.conf" "$tls"
exec docker-entrypoint.sh "$@" -c ssl=on -c ssl_cert_file="$tls/server.crt" -c ssl_key_file="$tls/server.key" \
  -c hba_file="$tls/pg_hba.conf"
