#!/usr/bin/env bash
set -euo pipefail
source=$(dirname "${BASH_SOURCE[0]}")
CGO_ENABLED=0 go -C "$source" build -trimpath -o "$1/run" .
echo /sdk/run >"$1/command"
printf '%s\n' 'minio-go' "$(go -C "$source" list -m -f '{{.Version}}' github.com/minio/minio-go/v7)" >"$1/sdk"
