#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC1091 # it is checked by itself
. ../machine.sh
needs java javac mvn

mvn --batch-mode --quiet --file pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$1/lib"
javac -cp "$1/lib/*" -d "$1/classes" Main.java
java=$(readlink -f "$(command -v java)")
home=${java%/bin/java}
# Debian keeps the settings of Java outside of its home.
settings=("$(dirname "$(readlink -f "$home/lib/security/default.policy")")" "$(dirname "$(readlink -f "$home/conf/net.properties")")")
mounts "$home" "${settings[@]}" >"$1/mounts"
program "$1" "exec $java -XX:-UsePerfData -cp '/sdk/classes:/sdk/lib/*' Main"
printf '%s\n' "$java" -XX:-UsePerfData -cp '/sdk/classes:/sdk/lib/*' Main >"$1/command"
{
	printf '%s\n' "$home" "${settings[@]}"
	libraries "$java" "$home"/lib/server/libjvm.so "$home"/lib/lib{java,jimage,net,nio,zip}.so | grep -v "^$home/"
} >"$1/needs"
printf '%s\n' 'Java v2' "$(sed -n '/<artifactId>sts</{n;s/.*<version>\(.*\)<.*/\1/p}' pom.xml)" >"$1/sdk"
