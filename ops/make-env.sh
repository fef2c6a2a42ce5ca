#!/bin/sh
# Makes .env beside compose.yaml with a random password for each role, readable by its owner only. One that is there stays.
set -eu
cd "$(dirname "$0")/.."
if [ -e .env ]; then exit 0; fi
umask 077
for role in POSTGRES MIGRATOR ORDER_API READER CART_SINK AUDITOR; do
  echo "${role}_PASSWORD=$(openssl rand -hex 24)"
done >.env.new
mv .env.new .env
