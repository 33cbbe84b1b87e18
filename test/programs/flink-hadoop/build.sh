#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
needs java javac mvn

mvn --batch-mode --quiet --file pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$1/lib"
javac -cp "$1/lib/*" -d "$1/classes" Main.java
program "$1" "exec java -cp \"\${0%/*}/classes:\${0%/*}/lib/*\" Main"
sed -n '/<artifactId>flink-s3-fs-hadoop</{n;s/.*<version>\(.*\)<.*/\1/p}' pom.xml >"$1/version"
