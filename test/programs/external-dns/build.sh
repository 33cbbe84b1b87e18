#!/usr/bin/env bash
set -euo pipefail
source=$(dirname "${BASH_SOURCE[0]}")
CGO_ENABLED=0 go -C "$source" build -trimpath -o "$1/program" .
printf '#!/bin/sh\nexec "${0%%/*}/program"\n' >"$1/run"
go -C "$source" list -m -f '{{.Version}}' sigs.k8s.io/external-dns >"$1/version"
