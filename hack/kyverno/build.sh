#!/usr/bin/env bash
# Prints the folder of Kyverno and its CustomResourceDefinitions. It is built from source, from the
# Go module proxy, once into the user's cache folder. Its 3,000 packages take longer to build than
# an API server, so only make kyverno needs it.
set -euo pipefail

version=v1.19.1
sum=h1:/MkgFii3/VlQfKR1JpC9tVwNNVNQTt2S4U6qCsafsTU=

# What is built runs here and now, whatever the caller is cross-compiling.
GOOS=$(go env GOHOSTOS) GOARCH=$(go env GOHOSTARCH)
export GOOS GOARCH CGO_ENABLED=0 GOWORK=off

cache=${XDG_CACHE_HOME:-$HOME/.cache}/kube-aws-iam-controller/kyverno
folder=$cache/$version-$GOOS-$GOARCH
if [[ ! -d $folder ]]; then
	echo "Building Kyverno $version for make kyverno. This happens once; it is kept in $folder" >&2
	mkdir -p "$cache"
	partial=$(mktemp -d "$cache/partial.XXXXXX")
	trap 'rm -rf "$partial"' EXIT
	cd "$partial" # outside of any module
	go mod download -json "github.com/kyverno/kyverno@$version" >module.json
	grep -q "\"Sum\": \"$sum\"" module.json || {
		echo "github.com/kyverno/kyverno@$version has another checksum than $sum" >&2
		exit 1
	}
	# Its go.mod has replacements, which go install refuses.
	source=$(sed -n 's/.*"Dir": "\(.*\)",\{0,1\}$/\1/p' module.json)
	mkdir -p made/crds
	go -C "$source" build -trimpath -buildvcs=false -ldflags "-s -w" -o "$partial/made/kyverno" ./cmd/kyverno >&2
	find "$source/config/crds" -name '*.yaml' ! -name kustomization.yaml -exec cp {} made/crds/ \;
	mv made "$folder"
fi
echo "$folder"
