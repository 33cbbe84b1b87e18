#!/usr/bin/env bash
# Gives the controller its first credentials, or new ones after an outage: run it with --help.
#
# The keys are passed in shell variables, the environment of aws and the standard input of kubectl.
# So they are in no argument list, which other users of the machine could read, in no file, and in
# no output. For the same reason it never runs kubectl apply, which copies them into an annotation.
set +x # no trace either
set -euo pipefail

usage() {
	cat <<'EOF'
usage: scripts/bootstrap.sh [option...] <role-arn>

Assumes the role with your own AWS credentials and writes the session into a Secret: the seed. A
controller with --seed-secret renews its credentials from it without end, by assuming the role again.
Run it once, and again if the seed expired while the controller was away.

  <role-arn>             the controller's role, such as
                         arn:aws:iam::123456789012:role/kube-aws-iam-controller. It must trust you and
                         itself.

  --namespace <name>     the controller's namespace (default: kube-system)
  --name <name>          name of the Secret (default: aws-iam-<name of the role>, or
                         kube-aws-iam-controller-seed for a role with a path or with a name that no
                         Secret can have)
  --duration <seconds>   duration of the seed: 900 to 43200, at most what the role allows, and 3600 if
                         you are a role yourself (default: 3600)
  --context <name>       context of your kubeconfig (default: the current one)
  --force                overwrite a Secret that does not look like a seed
  --dry-run              write nothing, but ask the API server whether it would accept the Secret
  --help

It needs aws and kubectl. They use their own settings: AWS_PROFILE, AWS_REGION, KUBECONFIG and so on.
EOF
}

# die message: prints what is wrong and what to do, and exits.
die() {
	printf 'bootstrap.sh: %s\n' "$1" >&2
	exit 1
}

written=Nothing
trap 'status=$?; ((status == 0)) || printf "%s was written to the cluster.\n" "$written" >&2' EXIT

# ---- arguments

namespace=kube-system name='' duration=3600 context='' force='' dry_run='' role=''

read_arguments() {
	while (($#)); do
		case $1 in
		--namespace | --name | --duration | --context)
			[[ -n ${2:-} ]] || die "$1 needs a value; see --help"
			printf -v "${1#--}" %s "$2"
			shift
			;;
		--namespace=* | --name=* | --duration=* | --context=*)
			local option=${1%%=*}
			[[ -n ${1#*=} ]] || die "$option needs a value; see --help"
			printf -v "${option#--}" %s "${1#*=}"
			;;
		--awsiamrole) echo "Note: --awsiamrole is ignored: an AWSIAMRole cannot govern a seed." >&2 ;;
		--force) force=true ;;
		--dry-run) dry_run=true ;;
		--help | -h)
			usage
			exit
			;;
		-*) die "there is no option $1; see --help" ;;
		*)
			[[ -z $role ]] || die "one role is enough: $role or $1? See --help"
			role=$1
			;;
		esac
		shift
	done
	[[ -n $role ]] || die "which role? Give the ARN of the controller's role, such as arn:aws:iam::123456789012:role/kube-aws-iam-controller; see --help"
}

# In some locales, the range a-z in patterns matches upper-case letters.
LC_ALL=C

check_arguments() {
	[[ $role =~ ^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/([A-Za-z0-9_+=,.@:/-]+/)?[A-Za-z0-9_+=,.@-]+$ ]] ||
		die "$role is not the ARN of a role, which looks like arn:aws:iam::123456789012:role/kube-aws-iam-controller"
	if ! [[ $duration =~ ^[1-9][0-9]{2,4}$ ]] || ((duration < 900 || duration > 43200)); then
		die "--duration=$duration: STS allows sessions of 900 to 43200 seconds"
	fi

	role_name=${role##*/}
	local label='[a-z0-9]([a-z0-9-]*[a-z0-9])?' by_role=aws-iam-$role_name
	local subdomain="^$label(\\.$label)*\$"
	if [[ -z $name ]]; then
		name=$by_role
		[[ $name =~ $subdomain && $role == *":role/$role_name" ]] || name=kube-aws-iam-controller-seed
	fi
	if ! [[ $name =~ $subdomain ]] || ((${#name} > 253)); then
		die "no Secret can be named $name: only lower-case letters, digits, hyphens and dots. Use another --name, which must not begin with aws-iam-"
	fi
	if [[ $name == aws-iam-* && $name != "$by_role" ]]; then
		die "a Secret aws-iam-... is for the role of that name, and $name is not for $role_name: use a --name without that prefix"
	fi
	if ! [[ $namespace =~ ^$label$ ]] || ((${#namespace} > 63)); then
		die "no namespace can be named $namespace: only lower-case letters, digits and hyphens, 63 at most"
	fi

	local program
	for program in aws kubectl; do
		command -v "$program" >/dev/null || die "$program is not on the PATH: install it first"
	done
}

# ---- AWS

# assume [option...]: prints the session of the role, its four parts separated by tabs. It uses the
# credentials of the environment.
assume() {
	aws sts assume-role --role-arn "$role" --role-session-name kube-aws-iam-controller-bootstrap \
		--query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken,Expiration]' --output text "$@"
}

issue_seed() {
	local caller session
	caller=$(aws sts get-caller-identity --query Arn --output text) ||
		die "you have no valid AWS credentials, see above. Log in, set AWS_PROFILE or, for another partition such as China, its Region in AWS_REGION"
	printf 'Assuming %s as %s\n' "$role" "$caller"
	session=$(assume --duration-seconds "$duration") ||
		die "$caller could not assume $role, see above. If it is AccessDenied: does the role exist, does its trust policy name you, and do you have sts:AssumeRole?"
	# A pipe, because older versions of bash write a here-string (<<<) into a file.
	IFS=$'\t' read -r access_key_id secret_access_key session_token expiration < <(printf '%s\n' "$session")
	# AWS CLI 2 writes +00:00. Some SDKs read only Z.
	expiration=${expiration/%+00:00/Z}

	local key='^[A-Za-z0-9/+=_-]+$'
	[[ $access_key_id =~ $key && $secret_access_key =~ $key && $session_token =~ $key &&
		$expiration =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$ ]] ||
		die "the output of aws is not a session. Is $(command -v aws) the AWS CLI?"
}

# as_seed command...: runs it with the credentials of the seed in place of yours. The AWS CLI
# prefers AWS_SECURITY_TOKEN, the older name, if it is set.
as_seed() {
	AWS_ACCESS_KEY_ID=$access_key_id AWS_SECRET_ACCESS_KEY=$secret_access_key AWS_SESSION_TOKEN=$session_token \
		AWS_SECURITY_TOKEN=$session_token AWS_CREDENTIAL_EXPIRATION=$expiration "$@"
}

# check_trust fails unless the role can assume itself, which it tries: without that, the controller
# could not renew the seed. It tries with a session tag first, as a controller with --session-tags
# does, which also needs sts:TagSession.
check_trust() {
	local denial
	if as_seed assume --duration-seconds 900 --tags "Key=kubernetes-namespace,Value=$namespace" >/dev/null 2>&1; then
		return
	fi
	if denial=$(as_seed assume --duration-seconds 900 2>&1 >/dev/null); then
		printf 'Note: the role cannot tag its own sessions. For --session-tags, its statement about itself also needs sts:TagSession.\n' >&2
		return
	fi
	[[ $denial == *AccessDenied* ]] || die "could not find out whether the role can assume itself: $denial"
	die "$role does not trust itself, so the controller could never renew the seed. Add this to the Statement of its trust policy:

$(trust_statement)

  aws iam get-role --role-name $role_name --query Role.AssumeRolePolicyDocument >trust.json
  aws iam update-assume-role-policy --role-name $role_name --policy-document file://trust.json

or, if the role is from scripts/role.yaml, set its parameter Seed; the others stay as they are:

  aws cloudformation deploy --stack-name kube-aws-iam-controller --template-file scripts/role.yaml --capabilities CAPABILITY_NAMED_IAM --parameter-overrides Seed=true

and run this again after a minute, when IAM has applied the change. If the statement exists already,
something else denies it: a permissions boundary, an SCP, or the role's own policy without
sts:AssumeRole on itself. AWS says:
$denial"
}

trust_statement() {
	cat <<EOF
  {
    "Effect": "Allow",
    "Principal": {"AWS": "$role"},
    "Action": ["sts:AssumeRole", "sts:TagSession"]
  }
EOF
}

# ---- the cluster

# in_cluster argument...: runs kubectl in the given cluster and namespace.
in_cluster() {
	kubectl ${context:+"--context=$context"} --namespace="$namespace" "$@"
}

remedy="see above. Are the context and the namespace correct, and do you have the right to do that?"

# write argument...: runs a kubectl command that changes an object, unless in a dry run.
write() {
	in_cluster "$@" ${dry_run:+--dry-run=server}
}

# describe prints uid and version of the Secret, if it exists, and then the facts that can show that
# it is not a seed, each after a word for its kind.
describe() {
	# shellcheck disable=SC2016 # the template has variables of its own
	in_cluster get secret "$name" --ignore-not-found --output=go-template='{{.metadata.uid}} {{.metadata.resourceVersion}}
type {{.type}}
{{if .immutable}}immutable true
{{end}}{{range .metadata.ownerReferences}}owner {{.kind}}{{if .controller}} (controller){{end}}
{{end}}{{with .metadata.labels}}{{with .heritage}}heritage {{.}}
{{end}}{{end}}{{with .metadata.annotations}}{{with index . "iam.amazonaws.com/role-arn"}}role {{printf "%q" .}}
{{end}}{{end}}{{range $key, $value := .data}}key {{$key}}
{{end}}'
}

# check_existing reads that description, without its first line. It exits if the Secret cannot
# become a seed, and sets doubts to the reasons why it does not look like one.
check_existing() {
	local what value process=''
	doubts=''
	while read -r what value; do
		case $what:$value in
		type:Opaque | owner:AWSIAMRole | heritage:kube-aws-iam-controller | "role:\"$role\"") ;;
		key:credentials.json) process=true ;;
		key:credentials.process | key:expire) ;;
		key:role-arn | key:credentials | key:config | key:container.json) ;; # the controller writes these
		type:*) die "Secret $namespace/$name cannot become the seed: its type is $value. Delete it, or use another --name" ;;
		immutable:*) die "Secret $namespace/$name cannot become the seed: it is immutable. Delete it, or use another --name" ;;
		key:*) doubts+=" It has the key $value." ;;
		owner:*) doubts+=" $value owns it." ;;
		heritage:*) doubts+=" Its label says heritage=$value." ;;
		role:*) doubts+=" It is of the role $value." ;;
		esac
	done
	[[ -n $process ]] || doubts+=" It has no key credentials.json."
}

# Single quotes are sufficient: issue_seed and check_arguments reject all other characters.
secret_data() {
	cat <<EOF
stringData:
  credentials.process: "[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n"
  expire: "$expiration"
EOF
	printf "  credentials.json: '%s'\n" "$(printf '{"Version":1,"AccessKeyId":"%s","SecretAccessKey":"%s","SessionToken":"%s","Expiration":"%s"}' \
		"$access_key_id" "$secret_access_key" "$session_token" "$expiration")"
}

new_secret() {
	printf 'apiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata:\n  name: %s\n' "'$name'"
	secret_data
}

# patch uid resourceVersion: prints the patch that makes the existing Secret the new seed, if it has
# not changed since it was described. Labels stay, except that of an AWSIAMRole's Secret, and so do
# annotations, except those about the old credentials. Owners are removed: Kubernetes would delete
# the seed with them.
patch() {
	printf 'metadata:\n  uid: %s\n  resourceVersion: "%s"\n' "$1" "$2"
	printf '  ownerReferences: null\n  labels: {type: null}\n'
	printf '  annotations:\n'
	printf '    iam.amazonaws.com/%s: null\n' access-key-id session-name session-duration issued-at
	printf 'data: null\n' # removes the old keys
	secret_data
}

write_seed() {
	local description version
	description=$(describe) || die "Secret $namespace/$name could not be read, $remedy"
	if [[ -z $description ]]; then
		new_secret | write create --filename=- || die "Secret $namespace/$name could not be created, $remedy"
		return
	fi
	read -r -a version <<<"$description"
	check_existing < <(printf '%s\n' "$description" | tail -n +2)
	[[ -z $doubts || -n $force ]] ||
		die "Secret $namespace/$name does not look like a seed.$doubts If it is not needed, use --force; otherwise another --name"
	patch "${version[@]}" | write patch secret "$name" --type=strategic --patch-file=/dev/stdin ||
		die "Secret $namespace/$name could not be changed, $remedy After a conflict, the controller is running: check whether it still needs a seed"
}

# ---- next steps

print_next_steps() {
	if [[ -n $dry_run ]]; then
		echo "This was a dry run: nothing was written."
		return
	fi
	cat <<EOF

Secret $namespace/$name is the seed, valid until $expiration. Next, unless the controller runs already:

  kubectl apply -k config/overlays/seed

EOF
	if [[ $namespace/$name/$role_name != kube-system/aws-iam-kube-aws-iam-controller/kube-aws-iam-controller ]]; then
		printf "  # with these values in it:\n  --seed-secret=%s\n  secretName: %s\n  value: \"'%s'\"\n" "$namespace/$name" "$name" "$namespace/$name"
		if [[ $name == aws-iam-* ]]; then printf '  resourceNames: [%s]\n' "$role_name"; fi
		echo
	fi
	if [[ $name == aws-iam-* && $role != *":role/$role_name" ]]; then
		printf 'The role has a path: its name resolves to it only with --base-role-arn=%s. Otherwise use a --name that does not begin with aws-iam-.\n' "${role%"$role_name"}"
	fi
	echo "Start the controller before the seed expires; it renews the seed from then on. If the seed expires, run this again."
}

read_arguments "$@"
check_arguments
# AWS CLI 1 reads only AWS_DEFAULT_REGION, AWS CLI 2 prefers AWS_REGION; a pager would wait for a
# key.
if [[ -n ${AWS_REGION:-} ]]; then export AWS_DEFAULT_REGION=$AWS_REGION; fi
export AWS_PAGER=''

issue_seed
check_trust
write_seed
print_next_steps
