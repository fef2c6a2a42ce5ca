#!/bin/sh
# Runs roles.sql in the orders and in the carts database and gives the roles that each needs their passwords. compose.yaml runs it
# before and after the migrate step. It can be run again and again: passwords that have changed are taken over.
#
# ORDERS_ADMIN_URL, CARTS_ADMIN_URL: a superuser's, without the password, which is in PGPASSWORD: arguments can be seen by others.
# MIGRATOR_PASSWORD, ORDER_API_PASSWORD, READER_PASSWORD, CART_SINK_PASSWORD, AUDITOR_PASSWORD: all must be set. Needs psql 15.
set -eu

folder=$(dirname "$0")

apply() {
  url=$1
  shift
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --file "$folder/roles.sql" "$url"
  for role in "$@"; do
    variable=$(echo "$role" | tr '[:lower:]' '[:upper:]')_PASSWORD
    # Without the variable, psql leaves :'password' as it is, which is a syntax error.
    printf '%s\n' "\\getenv password $variable" "ALTER ROLE :\"role\" PASSWORD :'password';" |
      psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set role="$role" "$url"
  done
}

apply "${ORDERS_ADMIN_URL:?}" migrator order_api reader auditor
apply "${CARTS_ADMIN_URL:?}" migrator cart_sink auditor
