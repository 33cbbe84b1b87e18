# shellcheck shell=bash
# Sourced by the build.sh of programs that need more of this machine than their own folder.

needs() { # program...
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null || {
			echo "$program is missing" >&2
			exit 3
		}
	done
}

# mounts folder...: the folders that a pod needs, and this machine's libraries.
mounts() {
	printf '%s\n' /usr /lib /lib64 "$@" | sort -u | while IFS= read -r folder; do
		if [[ -d $folder ]]; then echo "$folder"; fi
	done
}

# libraries file...: the shared libraries that programs and libraries need, where there is no shell.
libraries() {
	ldd "$@" | awk '$2 == "=>" && $3 ~ "^/" { print $3 } $1 ~ "^/" && $2 ~ "^[(]" { print $1 }' | sort -u
}

program() { # folder command: what the pod runs
	printf '#!/bin/sh\n%s\n' "$2" >"$1/run"
	chmod +x "$1/run"
}

# install_python folder requirements: installs packages, and prints what runs them.
install_python() {
	needs python3
	python3 -c 'import pip' 2>/dev/null || {
		echo "Python's pip is missing" >&2
		exit 3
	}
	python3 -m pip --quiet --disable-pip-version-check install --target "$1/site" --require-hashes -r "$2" >&2
	mounts "$(python3 -c 'import sys; print(sys.base_prefix)')" >"$1/mounts"
	python3 -c 'import os, sys; print(os.path.realpath(sys.executable))'
}

# build_node folder name package: installs what package-lock.json says, for main.mjs, which uses an
# SDK's package.
build_node() {
	needs node npm
	cp main.mjs package.json package-lock.json "$1"
	if [[ -e env ]]; then cp env "$1"; fi
	npm --prefix "$1" ci --ignore-scripts --no-audit --no-fund
	local node
	node=$(readlink -f "$(command -v node)")
	mounts "${node%/bin/*}" >"$1/mounts"
	program "$1" "exec $node /sdk/main.mjs"
	printf '%s\n' "$node" /sdk/main.mjs >"$1/command"
	{ echo "$node" && libraries "$node"; } >"$1/needs"
	printf '%s\n' "$2" "$(node --print "require('./package.json').dependencies['$3']")" >"$1/sdk"
}

# build_rust folder name package: builds what Cargo.lock says, which uses an SDK's package.
build_rust() {
	needs cargo cc
	local target=${CARGO_TARGET_DIR:-$1/target}
	cargo build --quiet --release --locked --target-dir "$target"
	cp "$target/release/run" "$1/run"
	rm -rf "$1/target"
	mounts >"$1/mounts"
	echo /sdk/run >"$1/command"
	libraries "$1/run" >"$1/needs"
	printf '%s\n' "$2" "$(sed -n "/^name = \"$3\"\$/{n;s/.*\"\(.*\)\"/\1/p}" Cargo.lock)" >"$1/sdk"
}
