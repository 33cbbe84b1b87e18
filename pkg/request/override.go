package request

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Environment variables of SDKs. Source: "Configuring environment variables for the AWS CLI", and
// the chains of credential providers in the SDKs' source.
const (
	accessKeyVariable   = "AWS_ACCESS_KEY_ID"
	roleARNVariable     = "AWS_ROLE_ARN"
	tokenFileVariable   = "AWS_WEB_IDENTITY_TOKEN_FILE"
	profileVariable     = "AWS_PROFILE"
	sharedFileVariable  = "AWS_SHARED_CREDENTIALS_FILE"
	fullURIVariable     = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	relativeURIVariable = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
)

const (
	// endpointContainer is the sidecar of cmd/credentials-endpoint. It calls no SDK.
	endpointContainer = "aws-iam-endpoint"
	// endpointURI begins the address of a cmd/credentials-endpoint.
	endpointURI = "http://127.0.0.1:"
	// orSkipWebhook is what to do about variables that EKS's pod identity webhook adds.
	orSkipWebhook = " or, if EKS adds it, give the pod the label eks.amazonaws.com/skip-pod-identity-webhook: \"true\""
)

// variables has the environment variables of a container that are set and choose its credentials.
// The value of one that comes from elsewhere is not known.
type variables map[string]variable

type variable struct {
	value string
	known bool
}

// decidesCredentials reports whether a variable is one of those in variables.
func decidesCredentials(name string) bool {
	switch name {
	case accessKeyVariable, roleARNVariable, tokenFileVariable, profileVariable, sharedFileVariable, fullURIVariable, relativeURIVariable:
		return true
	}
	return false
}

// variablesOf returns the variables of a container. Those of envFrom are in other objects, which
// are not read.
func variablesOf(c *corev1.Container) variables {
	all := variables{}
	for i := range c.Env {
		if e := &c.Env[i]; decidesCredentials(e.Name) {
			all[e.Name] = variable{value: e.Value, known: e.ValueFrom == nil} // the last one counts
		}
	}
	for name, v := range all {
		if v.known && v.value == "" { // to SDKs it is not set
			delete(all, name)
		}
	}
	return all
}

func (v variables) has(name string) bool { _, ok := v[name]; return ok }

// overrides are the mistakes by which a container with a Secret uses other credentials. format is
// what follows "container c".
var overrides = []struct {
	applies func(v variables, paths []string) bool
	format  string
}{
	{
		func(v variables, _ []string) bool { return v.has(accessKeyVariable) },
		"sets " + accessKeyVariable + ": every SDK uses these keys, and not Secret %s; remove them",
	},
	{
		func(v variables, _ []string) bool {
			return v.has(roleARNVariable) && v.has(tokenFileVariable) && v.has(sharedFileVariable)
		},
		"sets " + roleARNVariable + " and " + tokenFileVariable + ": SDKs of Python, Go, Java, .NET, Ruby and PHP use that role, " +
			"and those of JavaScript, Rust and C++ the one of Secret %s; remove the variables" + orSkipWebhook,
	},
	{
		func(v variables, _ []string) bool { return v.has(roleARNVariable) && v.has(tokenFileVariable) },
		"sets " + roleARNVariable + " and " + tokenFileVariable + ": every SDK uses that role, and not Secret %s; remove the variables" + orSkipWebhook,
	},
	{
		func(v variables, _ []string) bool {
			return v.has(profileVariable) && v[profileVariable].value != "default"
		},
		"sets " + profileVariable + ", and Secret %s has no profile but default; remove the variable",
	},
	{
		func(v variables, paths []string) bool {
			file := v[sharedFileVariable]
			return file.known && !isBelow(file.value, paths)
		},
		"sets " + sharedFileVariable + " to a file outside of Secret %s, so SDKs do not use the Secret; " +
			"set it to credentials.process where the Secret is mounted",
	},
	{
		func(v variables, _ []string) bool {
			return v.has(sharedFileVariable) && strings.HasPrefix(v[fullURIVariable].value, endpointURI)
		},
		"sets both " + sharedFileVariable + " and " + fullURIVariable + " for Secret %s: SDKs use the file, for which the image " +
			"needs sh and cat, and not the endpoint; remove " + sharedFileVariable + ", or the endpoint",
	},
	{
		func(v variables, _ []string) bool {
			return v.has(sharedFileVariable) && (v.has(fullURIVariable) || v.has(relativeURIVariable))
		},
		"sets " + fullURIVariable + " or its relative form: version 2 of the JavaScript SDK uses that endpoint, and the others " +
			"the file of Secret %s; remove the variable" + orSkipWebhook,
	},
	{
		func(v variables, _ []string) bool {
			return v.has(relativeURIVariable) || v.has(fullURIVariable) && !strings.HasPrefix(v[fullURIVariable].value, endpointURI)
		},
		"sets " + fullURIVariable + " or its relative form: SDKs use that endpoint, and not Secret %s; set " +
			sharedFileVariable + ", and remove the variable" + orSkipWebhook,
	},
}

// isBelow reports whether a file is one of the mounted files, or in one of the directories.
func isBelow(file string, mounted []string) bool {
	for _, d := range mounted {
		if strings.HasPrefix(path.Clean(file)+"/", strings.TrimSuffix(d, "/")+"/") {
			return true
		}
	}
	return false
}

// warnAboutOverrides adds, for each container that mounts one of the Secrets, a warning about the
// first of the overrides that applies.
func warnAboutOverrides(pod *corev1.Pod, secrets []*volumeSecret) {
	byVolume := map[string]*Request{}
	for _, s := range secrets {
		if byVolume[s.volume] == nil {
			byVolume[s.volume] = s.request
		}
	}
	for container := range containers(pod) {
		var mounted *Request
		var paths []string
		for i := range container.VolumeMounts {
			mount := &container.VolumeMounts[i]
			if r := byVolume[mount.Name]; r != nil {
				if mounted == nil {
					mounted = r
				}
				paths = append(paths, path.Clean(mount.MountPath))
			}
		}
		if mounted != nil && container.Name != endpointContainer {
			mounted.warnAboutOverride(container, paths)
		}
	}
}

func (r *Request) warnAboutOverride(container *corev1.Container, paths []string) {
	v := variablesOf(container)
	for _, o := range overrides {
		if o.applies(v, paths) {
			r.warn(CredentialsOverridden, "container %s "+o.format, quoted(container.Name), quoted(r.Secret))
			return
		}
	}
}
