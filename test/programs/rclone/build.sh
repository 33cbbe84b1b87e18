#!/usr/bin/env bash
# rclone as a server of files, which reads a file from S3 for each request.
set -euo pipefail
version=v1.76.0
GOBIN=$1 CGO_ENABLED=0 go install "github.com/rclone/rclone@$version"
cp "$(dirname "${BASH_SOURCE[0]}")/run" "$1"
echo "$version" >"$1/version"
