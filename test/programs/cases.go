package main

// form is a way in which a program gets the credentials: the environment variables for it. $DIR is
// the folder of the Secret, $ENDPOINT the address of the credentials endpoint.
type form struct {
	name      string
	variables []string
}

var (
	file     = form{"file", []string{"AWS_SHARED_CREDENTIALS_FILE=$DIR/credentials.process"}}
	keys     = form{"keys", []string{"AWS_SHARED_CREDENTIALS_FILE=$DIR/credentials"}}
	endpoint = form{"endpoint", []string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://$ENDPOINT/", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=$DIR/endpoint-token",
	}}
)

// file1 is for version 1 of the SDK for Java.
var file1 = form{"file", []string{"AWS_CREDENTIAL_PROFILES_FILE=$DIR/credentials.process"}}

const (
	profileProvider = "PROVIDER=org.apache.hadoop.fs.s3a.auth.ProfileAWSCredentialsProvider"
	defaultChain1   = "PROVIDER=com.amazonaws.auth.DefaultAWSCredentialsProviderChain"
)

// with returns the form with more variables, which a program needs for it.
func (f form) with(name string, variables ...string) form {
	return form{f.name + ", " + name, append(variables, f.variables...)}
}

// programCase is a program that gets its credentials in one form.
type programCase struct {
	program string // a folder beside this file
	form
	follows bool // whether it uses each new session before the old one expires
}

// cases are the runs that docs/programs.md claims.
var cases = []programCase{
	{"airflow", file, true},
	{"airflow", endpoint, true},
	{"airflow", keys, false},
	{"cert-manager", file, true},
	{"cert-manager", endpoint, true},
	{"cert-manager", keys, true},
	{"external-dns", file, true},
	{"external-dns", endpoint, true},
	{"external-dns", keys, false},
	{"flink", file, true},
	{"flink", endpoint, true},
	{"flink", keys, true},
	{"flink-hadoop", file1.with("default chain", defaultChain1), true},
	{"flink-hadoop", endpoint, true},
	{"hadoop", endpoint, true},
	{"hadoop", file.with("profile provider", profileProvider), true},
	{"hadoop", keys.with("profile provider", profileProvider), false},
	{"loki", file, true},
	{"loki", endpoint, true},
	{"loki", keys, false},
	{"loki", file.with("use_thanos_objstore", "USE_THANOS_OBJSTORE=true"), true},
	{"loki", endpoint.with("use_thanos_objstore", "USE_THANOS_OBJSTORE=true"), true},
	{"loki", keys.with("use_thanos_objstore", "USE_THANOS_OBJSTORE=true"), true},
	{"rclone", file, true},
	{"rclone", endpoint, true},
	{"rclone", keys, false},
	{"terraform", file, true},
	{"terraform", endpoint, true},
	{"terraform", keys, false},
	{"thanos", file, true},
	{"thanos", endpoint, true},
	{"thanos", keys, true},
	{"thanos", file.with("aws_sdk_auth", "AWS_SDK_AUTH=true"), true},
	{"thanos", endpoint.with("aws_sdk_auth", "AWS_SDK_AUTH=true"), true},
	{"thanos", keys.with("aws_sdk_auth", "AWS_SDK_AUTH=true"), false},
	{"velero", file, true},
	{"velero", endpoint, true},
	{"velero", keys, false},
}
