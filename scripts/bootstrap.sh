#!/usr/bin/env bash
# Gives the controller its first credentials, or new ones after an absence: run it with --help.
#
# The keys go through shell variables, the environment of aws and the standard input of kubectl. So they are in no argument list, which other users
# of the machine could see, in no file, and in no output. That is also why it is never kubectl apply: apply would copy them into an annotation.
set +x # nor in a trace
set -euo pipefail

usage() {
	cat <<'EOF'
usage: scripts/bootstrap.sh [option...] <role-arn>

Assumes the role with your own AWS credentials and puts the session into a Secret: the seed, from which a controller with --seed-secret renews its
credentials for ever, by assuming the role again. To be run once, and again if the seed expired while the controller was away.

  <role-arn>             the controller's role, such as arn:aws:iam::123456789012:role/kube-aws-iam-controller. It must trust you and itself.

  --namespace <name>     the controller's namespace (default: kube-system)
  --name <name>          of the Secret (default: aws-iam-<name of the role>, or kube-aws-iam-controller-seed for a role with a path or a name that no
                         Secret can have)
  --duration <seconds>   how long the seed is good: 900 to 43200, at most what the role allows, and 3600 if you are a role yourself (default: 3600)
  --context <name>       of your kubeconfig (default: the current one)
  --force                overwrite a Secret that does not look like a seed
  --dry-run              all but the writing: the API server is asked whether it would take it
  --help

It needs aws and kubectl. They take their own settings: AWS_PROFILE, AWS_REGION, KUBECONFIG and so on.
EOF
}

# die message: what is wrong, and what to do.
die() {
	printf 'bootstrap.sh: %s\n' "$1" >&2
	exit 1
}

written=Nothing
trap 'status=$?; ((status == 0)) || printf "%s was written to the cluster.\n" "$written" >&2' EXIT

# ---- what is asked for

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
		--awsiamrole) echo "Note: --awsiamrole is ignored: no AWSIAMRole governs a seed any more." >&2 ;;
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

# Ranges in patterns follow the locale, and would take upper-case letters for lower-case ones.
LC_ALL=C

check_arguments() {
	[[ $role =~ ^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/([A-Za-z0-9_+=,.@:/-]+/)?[A-Za-z0-9_+=,.@-]+$ ]] ||
		die "$role is not the ARN of a role, which looks like arn:aws:iam::123456789012:role/kube-aws-iam-controller"
	if ! [[ $duration =~ ^[1-9][0-9]{2,4}$ ]] || ((duration < 900 || duration > 43200)); then
		die "--duration=$duration: STS knows sessions of 900 to 43200 seconds"
	fi

	role_name=${role##*/}
	local label='[a-z0-9]([a-z0-9-]*[a-z0-9])?' by_role=aws-iam-$role_name
	local subdomain="^$label(\\.$label)*\$"
	if [[ -z $name ]]; then
		name=$by_role
		[[ $name =~ $subdomain && $role == *":role/$role_name" ]] || name=kube-aws-iam-controller-seed
	fi
	if ! [[ $name =~ $subdomain ]] || ((${#name} > 253)); then
		die "no Secret can be named $name: only lower-case letters, digits, hyphens and dots. Take another --name, which must not begin with aws-iam-"
	fi
	if [[ $name == aws-iam-* && $name != "$by_role" ]]; then
		die "what is called aws-iam-... is for the role of that name, and $name is not for $role_name: take a --name without that prefix"
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

# assume [option...]: prints the session of the role, its four parts separated by tabs. Whose credentials are used is up to the environment.
assume() {
	aws sts assume-role --role-arn "$role" --role-session-name kube-aws-iam-controller-bootstrap \
		--query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken,Expiration]' --output text "$@"
}

issue_seed() {
	local caller session
	caller=$(aws sts get-caller-identity --query Arn --output text) ||
		die "you have no AWS credentials that work, see above. Log in, set AWS_PROFILE or, for a partition of its own such as China, its Region in AWS_REGION"
	printf 'Assuming %s as %s\n' "$role" "$caller"
	session=$(assume --duration-seconds "$duration") ||
		die "$caller could not assume $role, see above. If it is AccessDenied: is there such a role, does its trust policy name you, and may you sts:AssumeRole?"
	# By a pipe: older versions of bash put what stands after <<< into a file.
	IFS=$'\t' read -r access_key_id secret_access_key session_token expiration < <(printf '%s\n' "$session")
	# AWS CLI 2 writes the same as +00:00. Some SDKs read only Z.
	expiration=${expiration/%+00:00/Z}

	local key='^[A-Za-z0-9/+=_-]+$'
	[[ $access_key_id =~ $key && $secret_access_key =~ $key && $session_token =~ $key &&
		$expiration =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$ ]] ||
		die "aws printed something else than the credentials of a session. Is it the AWS CLI? It is $(command -v aws)"
}

# as_seed command...: with the credentials of the seed in place of yours. The AWS CLI prefers AWS_SECURITY_TOKEN, the older name, if it is set.
as_seed() {
	AWS_ACCESS_KEY_ID=$access_key_id AWS_SECRET_ACCESS_KEY=$secret_access_key AWS_SESSION_TOKEN=$session_token \
		AWS_SECURITY_TOKEN=$session_token AWS_CREDENTIAL_EXPIRATION=$expiration "$@"
}

# check_trust finds out by doing it whether the role may assume itself: a seed that cannot be renewed is none. It does so with a session tag first,
# as a controller with --session-tags does, for which sts:TagSession is needed, too.
check_trust() {
	local denial
	if as_seed assume --duration-seconds 900 --tags "Key=kubernetes-namespace,Value=$namespace" >/dev/null 2>&1; then
		return
	fi
	if denial=$(as_seed assume --duration-seconds 900 2>&1 >/dev/null); then
		printf 'Note: the role does not let itself tag sessions. For --session-tags, its statement about itself needs sts:TagSession, too.\n' >&2
		return
	fi
	[[ $denial == *AccessDenied* ]] || die "whether the role may assume itself could not be found out: $denial"
	die "$role does not trust itself, so the controller could never renew the seed. Add this to the Statement of its trust policy:

$(trust_statement)

  aws iam get-role --role-name $role_name --query Role.AssumeRolePolicyDocument >trust.json
  aws iam update-assume-role-policy --role-name $role_name --policy-document file://trust.json

or, if the role is from scripts/role.yaml, switch its parameter Seed on; the others stay as they are:

  aws cloudformation deploy --stack-name kube-aws-iam-controller --template-file scripts/role.yaml --capabilities CAPABILITY_NAMED_IAM --parameter-overrides Seed=true

and run this again after a minute: a change in IAM takes its time. If the statement is
there, something else forbids it: a permissions boundary, an SCP, or the lack of sts:AssumeRole on itself in the role's own policy. AWS says:
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

# in_cluster argument...: kubectl in the cluster and namespace that were asked for.
in_cluster() {
	kubectl ${context:+"--context=$context"} --namespace="$namespace" "$@"
}

remedy="see above. Are the context and the namespace right, and may you do that?"

# write argument...: kubectl that changes something, unless in a dry run.
write() {
	in_cluster "$@" ${dry_run:+--dry-run=server}
}

# describe prints the version of the Secret, if there is one, and then what can make it somebody else's, a word for what it is before each.
describe() {
	# shellcheck disable=SC2016 # the dollars are the template's
	in_cluster get secret "$name" --ignore-not-found --output=go-template='{{.metadata.uid}} {{.metadata.resourceVersion}}
type {{.type}}
{{if .immutable}}immutable true
{{end}}{{range .metadata.ownerReferences}}owner {{.kind}}{{if .controller}} (controller){{end}}
{{end}}{{with .metadata.labels}}{{with .heritage}}heritage {{.}}
{{end}}{{end}}{{with .metadata.annotations}}{{with index . "iam.amazonaws.com/role-arn"}}role {{printf "%q" .}}
{{end}}{{end}}{{range $key, $value := .data}}key {{$key}}
{{end}}'
}

# judge reads that description, without its first line. A Secret that is certainly not a seed ends the program; of one that hardly is, it sets doubts.
judge() {
	local what value process=''
	doubts=''
	while read -r what value; do
		case $what:$value in
		type:Opaque | owner:AWSIAMRole | heritage:kube-aws-iam-controller | "role:\"$role\"") ;;
		key:credentials.json) process=true ;;
		key:credentials.process | key:expire) ;;
		key:role-arn | key:credentials | key:config | key:container.json) ;; # as the controller writes them
		type:*) die "Secret $namespace/$name cannot become the seed: its type is $value. Delete it, or take another --name" ;;
		immutable:*) die "Secret $namespace/$name cannot become the seed: it is immutable. Delete it, or take another --name" ;;
		key:*) doubts+=" It has the key $value." ;;
		owner:*) doubts+=" $value owns it." ;;
		heritage:*) doubts+=" Its label says heritage=$value." ;;
		role:*) doubts+=" It is of the role $value." ;;
		esac
	done
	[[ -n $process ]] || doubts+=" It has no key credentials.json."
}

# Single quotes suffice: issue_seed and check_arguments have let nothing in that would need more.
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

# changes uid resourceVersion: what makes the existing Secret the new seed, if it is still the one that was judged. Labels stay, but for that of an AWSIAMRole's
# Secret, and so do annotations, but for those that tell of the old credentials. No owner stays: with it, Kubernetes would delete the seed.
changes() {
	printf 'metadata:\n  uid: %s\n  resourceVersion: "%s"\n' "$1" "$2"
	printf '  ownerReferences: null\n  labels: {type: null}\n'
	printf '  annotations:\n'
	printf '    iam.amazonaws.com/%s: null\n' access-key-id session-name session-duration issued-at
	printf 'data: null\n' # of the old keys, none stays
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
	judge < <(printf '%s\n' "$description" | tail -n +2)
	[[ -z $doubts || -n $force ]] ||
		die "Secret $namespace/$name does not look like a seed.$doubts If nobody needs it: --force. Else take another --name"
	changes "${version[@]}" | write patch secret "$name" --type=strategic --patch-file=/dev/stdin ||
		die "Secret $namespace/$name could not be changed, $remedy If there was a conflict, the controller is at work: look whether it still needs a seed"
}

# ---- what comes next

tell_next() {
	if [[ -n $dry_run ]]; then
		echo "This was a dry run: nothing was written."
		return
	fi
	cat <<EOF

Secret $namespace/$name is the seed, good until $expiration. Next, unless the controller runs already:

  kubectl apply -k config/overlays/seed

EOF
	if [[ $namespace/$name/$role_name != kube-system/aws-iam-kube-aws-iam-controller/kube-aws-iam-controller ]]; then
		printf "  # with these there:\n  --seed-secret=%s\n  secretName: %s\n  value: \"'%s'\"\n" "$namespace/$name" "$name" "$namespace/$name"
		if [[ $name == aws-iam-* ]]; then printf '  resourceNames: [%s]\n' "$role_name"; fi
		echo
	fi
	if [[ $name == aws-iam-* && $role != *":role/$role_name" ]]; then
		printf 'The role has a path: by its name it is found only with --base-role-arn=%s. Otherwise take a --name that does not begin with aws-iam-.\n' "${role%"$role_name"}"
	fi
	echo "The controller must run before the seed expires, and renews it from then on. If it does expire, run this again."
}

read_arguments "$@"
check_arguments
# AWS CLI 1 knows only the one, AWS CLI 2 prefers the other; a pager would wait for a key.
if [[ -n ${AWS_REGION:-} ]]; then export AWS_DEFAULT_REGION=$AWS_REGION; fi
export AWS_PAGER=''

issue_seed
check_trust
write_seed
tell_next
