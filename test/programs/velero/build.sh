#!/usr/bin/env bash
set -euo pipefail
version=v1.14.3
source=$(dirname "${BASH_SOURCE[0]}")
CGO_ENABLED=0 go -C "$source" build -trimpath -o "$1/program" .
GOBIN=$1 CGO_ENABLED=0 go install "github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws@$version"
printf '#!/bin/sh\nexec "${0%%/*}/program"\n' >"$1/run"
echo "$version" >"$1/version"
