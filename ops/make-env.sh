#!/bin/sh
# Makes what compose.yaml needs beside it: certificates/, with an authority and a certificate for each server, and .env, with a
# random password for each role of the databases and each user of Kafka. What is there stays; an .env of an older version gets
# the lines that it lacks. Needs openssl.
#
# certificates/ is closed to others, and nothing is kept that could sign another certificate. Each container gets only its own
# folder of it; in there the files are open, since nobody knows here as whom the servers run. To renew them before they end,
# two years from now: rm -r certificates, this script, docker compose up --detach --force-recreate.
set -eu
cd "$(dirname "$0")/.."
umask 077
days=730

# The key of a server's own, and a certificate for its name in compose.yaml and for this machine, where its port is published.
sign() {
  mkdir "$1"
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve -out "$1/server.key"
  openssl req -new -config authority.conf -subj "/CN=$1" -key "$1/server.key" -out request
  cat >extensions <<END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:$1, DNS:localhost, IP:127.0.0.1
END
  openssl x509 -req -in request -CA authority/ca.crt -CAkey authority.key -set_serial "0x01$(openssl rand -hex 15)" \
    -days "$days" -sha256 -extfile extensions -out "$1/server.crt" 2>messages || { cat messages >&2; exit 1; }
}

make_certificates() {
  cat >authority.conf <<'END'
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = Tillstream
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
END
  mkdir authority
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve -out authority.key
  openssl req -new -x509 -config authority.conf -key authority.key -days "$days" -sha256 -out authority/ca.crt
  for server in orders-db carts-db kafka; do sign "$server"; done
  # Kafka takes key and certificate as one file, and connects to itself.
  cat kafka/server.key kafka/server.crt >kafka/server.pem
  cp authority/ca.crt kafka/ca.crt
  rm authority.key authority.conf request extensions messages kafka/server.key
  chmod 755 authority orders-db carts-db kafka
  chmod 644 ./*/*
}

if [ ! -e certificates ]; then
  rm -rf certificates.new
  mkdir certificates.new
  (cd certificates.new && make_certificates)
  mv certificates.new certificates
fi

lacks() { ! grep -q "^$1=" .env.new; }

rm -f .env.new
# A last line without an end would swallow what follows.
if [ -e .env ]; then sed -e '$a\' .env >.env.new; else : >.env.new; fi
for name in POSTGRES MIGRATOR ORDER_API READER CART_SINK AUDITOR KAFKA_ADMIN KAFKA_READER KAFKA_SINK KAFKA_TOOLS; do
  if lacks "${name}_PASSWORD"; then echo "${name}_PASSWORD=$(openssl rand -hex 24)" >>.env.new; fi
done
if [ -e .env ] && cmp -s .env .env.new; then rm .env.new; else mv .env.new .env; fi
