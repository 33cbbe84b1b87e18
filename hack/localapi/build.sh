#!/usr/bin/env bash
# build.sh [program...] prints the folder that holds etcd and kube-apiserver, as KUBEBUILDER_ASSETS
# wants it, and the further programs of Kubernetes that are named, such as kubectl.
#
# What is missing it downloads, as setup-envtest does, or where that fails builds from source, from
# the Go module proxy. Environment variables:
#
#   KUBEBUILDER_ASSETS  folder to use instead
#   LOCALAPI_MODULE     newest: build the programs of newest/go.mod, which make newest needs
#   LOCALAPI_DOWNLOAD   off: always build from source
#   LOCALAPI_INDEX      URL of an index of archives, such as a mirror; default: setup-envtest's
#   LOCALAPI_TIMEOUT    longest time without a byte of the archive, from the start; default: 8s
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
programs=(etcd kube-apiserver)

complete() { # folder program...: are all there?
	local program
	for program in "${@:2}"; do
		[[ -x $1/$program ]] || return 1
	done
}

# Who needs further programs looks for them on the PATH, too.
if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
	complete "$KUBEBUILDER_ASSETS" "${programs[@]}" || {
		echo "KUBEBUILDER_ASSETS: $KUBEBUILDER_ASSETS lacks one of: ${programs[*]}. Unset it to have them built." >&2
		exit 1
	}
	# Tests run in their packages' folders, where a relative path would miss.
	(cd "$KUBEBUILDER_ASSETS" && pwd)
	exit
fi
programs+=("$@")

module=$here${LOCALAPI_MODULE:+/$LOCALAPI_MODULE}
# Reading go.mod here, rather than through go list, needs neither network nor module cache.
pinned() { awk -v module="$1" '$1 == module && $2 ~ /^v/ { print $2; exit }' "$module/go.mod"; }
kubernetes=$(pinned k8s.io/kubernetes)
etcd=$(pinned go.etcd.io/etcd/server/v3)
# Archives exist for some patch releases only. The SHA-512 that the index names is verified.
prebuilt=1.36.2
archived=(etcd kube-apiserver kubectl)

# What is built runs here and now, whatever the caller is cross-compiling.
GOOS=$(go env GOHOSTOS) GOARCH=$(go env GOHOSTARCH)
export GOOS GOARCH CGO_ENABLED=0 GOWORK=off

cache=${XDG_CACHE_HOME:-$HOME/.cache}/kube-aws-iam-controller/localapi
assets=$cache/$kubernetes-$etcd-$GOOS-$GOARCH
downloaded=$cache/v$prebuilt-envtest-$GOOS-$GOARCH
print_complete() { # prints the folder that has all programs, if one has
	local folder folders=("$assets")
	[[ -n ${LOCALAPI_MODULE:-} ]] || folders+=("$downloaded")
	for folder in "${folders[@]}"; do
		if complete "$folder" "${programs[@]}"; then
			echo "$folder"
			return
		fi
	done
	return 1
}
if print_complete; then exit; fi

# progress verb total: counts what go reports on stdin, and prints everything else, such as errors.
progress() {
	local line count=0 step=100 start='' end='\n'
	if [[ -t 2 ]]; then step=1 start='\r' end=''; fi
	while IFS= read -r line; do
		if [[ $line != "go: downloading "* && $line =~ [\ :#] ]]; then
			printf '%s\n' "$line" >&2
		elif ((++count % step == 0)); then
			printf "$start  $1 %d$2$end" "$count" >&2
		fi
	done
	if [[ -t 2 ]] && ((count > 0)); then echo >&2; fi
}

mkdir -p "$cache"
# Without flock, two first runs at once both do the work.
if command -v flock >/dev/null; then
	exec 9>"$cache/.lock"
	flock -n 9 || {
		echo "Waiting for another build of the API server to finish." >&2
		flock 9
	}
	if print_complete; then exit; fi
fi
partial=$(mktemp -d "$assets.XXXXXX")
trap 'rm -rf "$partial"' EXIT

can_download() { # not if it is off, a program is in no archive, or a build from source has begun
	[[ ${LOCALAPI_DOWNLOAD:-} != off && -z ${LOCALAPI_MODULE:-} ]] || return 1
	local program
	for program in "${programs[@]}"; do
		[[ " ${archived[*]} " == *" $program "* ]] || return 1
	done
	! complete "$assets" etcd kube-apiserver
}

download() {
	go -C "$here/prebuilt" build -o "$partial/prebuilt" . || return
	"$partial/prebuilt" --index "${LOCALAPI_INDEX:-}" --timeout "${LOCALAPI_TIMEOUT:-8s}" \
		--version "$prebuilt" --dir "$partial/programs" || return
	complete "$partial/programs" "${archived[@]}" || {
		echo "the archive lacks one of: ${archived[*]}" >&2
		return 1
	}
}

if can_download; then
	if download 2>"$partial/errors"; then
		rm -rf "$downloaded"
		mv "$partial/programs" "$downloaded"
		echo "$downloaded"
		exit
	fi
	echo "No prebuilt API server: $(tail -n 1 "$partial/errors")" >&2
fi

missing=() mains=()
for program in "${programs[@]}"; do
	[[ -x $assets/$program ]] && continue
	missing+=("$program")
	case $program in
	etcd) mains+=(go.etcd.io/etcd/server/v3) ;;
	*) mains+=("k8s.io/kubernetes/cmd/$program") ;;
	esac
done

cat >&2 <<EOF
Building ${missing[*]} (Kubernetes $kubernetes, etcd $etcd) for the tests and the demo.
This happens once and takes some minutes; they are kept in $assets
EOF

go -C "$module" list -deps "${mains[@]}" 2>&1 >"$partial/packages" | progress 'modules downloaded:' ''
total=$(wc -l <"$partial/packages")

IFS=. read -r major minor _ <<<"${kubernetes#v}"
version=k8s.io/component-base/version
go -C "$module" build -v -o "$partial/" -ldflags "-s -w
	-X $version.gitVersion=$kubernetes -X $version.gitMajor=$major -X $version.gitMinor=$minor" \
	"${mains[@]}" 2>&1 | progress 'packages compiled:' " of at most $((total))"

# Each rename is atomic, and a program counts only under its own name: an interrupted build leaves
# no half of a program.
mkdir -p "$assets"
[[ ! -e $partial/server ]] || mv "$partial/server" "$partial/etcd" # as etcd's module calls it
for program in "${missing[@]}"; do
	mv -f "$partial/$program" "$assets/$program"
done
echo "$assets"
