#!/usr/bin/env bash
set -euo pipefail
CGO_ENABLED=0 go -C "$(dirname "${BASH_SOURCE[0]}")" build -trimpath -o "$1/run" .
