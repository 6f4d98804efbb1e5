#!/usr/bin/env bash
# Long-poll, with nothing but curl.
set -euo pipefail

chat=${COMETBOX:-http://127.0.0.1:8080}/chat/mailboxes
key=$(curl -sf "$chat" -d '{"nick":"paul","room":"hall"}' | sed 's/.*"key":"\([^"]*\)".*/\1/')

cursor=0
until [[ ${answer:-} == *'"say":"bye"'* ]]; do
    # Held until something comes; nothing (204) after 25 seconds.
    answer=$(curl -sf "$chat/paul?cursor=$cursor" -H "Authorization: Bearer $key")
    if [ -n "$answer" ]; then
        cursor=$(sed 's/{"cursor":\([0-9]*\).*/\1/' <<<"$answer")
        echo "$answer"
    fi
done
