#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
needs java javac mvn

mvn --batch-mode --quiet --file pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$1/lib"
javac -cp "$1/lib/*" -d "$1/classes" Main.java
java=$(readlink -f "$(command -v java)")
# Debian keeps the settings of Java outside of its home.
mounts "${java%/bin/java}" "$(dirname "$(readlink -f "${java%/bin/java}/lib/security/default.policy")")" \
	"$(dirname "$(readlink -f "${java%/bin/java}/conf/net.properties")")" >"$1/mounts"
program "$1" "exec $java -XX:-UsePerfData -cp '/sdk/classes:/sdk/lib/*' Main"
printf '%s\n' 'Java v2' "$(sed -n '/<artifactId>sts</{n;s/.*<version>\(.*\)<.*/\1/p}' pom.xml)" >"$1/sdk"
