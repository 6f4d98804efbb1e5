#!/usr/bin/env bash
# A mailbox as lines of JSON, with nothing but curl.
set -euo pipefail

chat=${COMETBOX:-http://127.0.0.1:8080}/chat/mailboxes
key=$(curl -sf "$chat" -d '{"nick":"carl","room":"hall"}' | sed 's/.*"key":"\([^"]*\)".*/\1/')

while read -r line; do
    case $line in
    *'"data":'*) echo "$line" ;;
    *'"error":'*) break ;; # it is over; the line says why
    esac
    case $line in *'"say":"bye"'*) break ;; esac
done < <(curl -sfN "$chat/carl" -H "Authorization: Bearer $key" -H 'Accept: application/x-ndjson')
kill $! # curl
