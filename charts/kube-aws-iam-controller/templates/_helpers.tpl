{{/* Manifests that make generate copied from config, with values filled in: (list $ "files/rbac/*.yaml"). */}}
{{- define "copies" -}}
{{- $ := index . 0 }}
{{- $seed := "" }}
{{- if eq $.Values.aws.identity "seed" }}
{{- $seed = (include "volume" $ | fromYaml).source.secret.secretName }}
{{- end }}
{{- range $path, $_ := $.Files.Glob (index . 1) }}
---
{{ $.Files.Get $path |
  replace "namespace: kube-system" (printf "namespace: %q" $.Release.Namespace) |
  replace "'system:serviceaccount:kube-system:' + " (printf "'system:serviceaccount:%s:' + " $.Release.Namespace) |
  replace "expression: \"'kube-system'\"" (printf "expression: \"'%s'\"" $.Release.Namespace) |
  replace "name: baseRoleARN\n    expression: \"''\"" (printf "name: baseRoleARN\n    expression: \"'%s'\"" (index $.Values.flags "base-role-arn" | default "")) |
  replace "name: ignored\n    expression: \"[]\"" (printf "name: ignored\n    expression: \"%s\"" ($.Values.admission.ignoredSecrets | empty | ternary "[]" (printf "['%s']" (join "', '" $.Values.admission.ignoredSecrets)))) |
  replace "expression: \"'/'\"" (printf "expression: \"'/%s'\"" $seed) |
  replace "expression: \"['sts.amazonaws.com']\"" (printf "expression: \"['%s']\"" (join "', '" $.Values.webIdentityAudiences)) |
  replace "resourceNames:\n  - kube-aws-iam-controller\n  resources:\n  - leases" (printf "resourceNames:\n  - %s\n  resources:\n  - leases" (include "lease" $)) }}
{{- end }}
{{- end }}

{{/* The policies of config/injection, with values filled in. */}}
{{- define "injection" -}}
{{- $files := .Values.injection.serviceAccounts | ternary "*" "{endpoint,injected,pod}" }}
{{- include "copies" (list . (printf "files/injection/%s.yaml" $files)) |
  replace "expression: \"'/meta/aws-iam'\"" (printf "expression: \"'%s'\"" (index .Values.flags "mount-path" | default "/meta/aws-iam")) |
  replace "name: region\n    expression: \"''\"" (printf "name: region\n    expression: \"'%s'\"" .Values.injection.region) |
  replace "expression: \"'kube-aws-iam-controller:latest'\"" (printf "expression: \"'%s'\"" (include "image" .)) |
  replace "imagePullPolicy: 'IfNotPresent'" (printf "imagePullPolicy: '%s'" .Values.image.pullPolicy) |
  replace "expression: \"65532\"" (printf "expression: \"%d\"" (int64 .Values.injection.runAsUser)) }}
{{- end }}

{{- define "image" -}}
{{- with .Values.image }}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The name of the Lease, as the controller computes it: for some namespaces it ends in a hash of them. */}}
{{- define "lease" -}}
kube-aws-iam-controller{{ with index .Values.flags "namespace" }}-{{ . | uniq | sortAlpha | join "," | sha256sum | trunc 8 }}{{ end }}
{{- end }}

{{/* The AWS SDK's environment variables. */}}
{{- define "settings" -}}
{{- $identity := dict "AWS_REGION" .Values.aws.region }}
{{- if not (has .Values.aws.identity (list "none" "instance-role")) }}
{{- $_ := set $identity "AWS_EC2_METADATA_DISABLED" "true" }}
{{- end }}
{{- if eq .Values.aws.identity "web-identity" }}
{{- $_ := set $identity "AWS_ROLE_ARN" .Values.aws.roleARN }}
{{- $_ := set $identity "AWS_ROLE_SESSION_NAME" "kube-aws-iam-controller" }}
{{- $_ := set $identity "AWS_WEB_IDENTITY_TOKEN_FILE" "/var/run/secrets/sts.amazonaws.com/token" }}
{{- else if eq .Values.aws.identity "user-keys" }}
{{- $_ := set $identity "AWS_SHARED_CREDENTIALS_FILE" "/etc/aws/credentials" }}
{{- end }}
{{- merge (deepCopy .Values.aws.env) $identity | toYaml }}
{{- end }}

{{- define "volume.name" -}}
{{ .Values.aws.identity }}
{{- end }}

{{/* All volumes, with their mount paths. */}}
{{- define "mounts" -}}
{{- $mounts := list }}
{{- with include "volume" . | fromYaml }}
{{- $mounts = append $mounts (merge (dict "name" (include "volume.name" $)) .) }}
{{- end }}
{{- if .Values.externalIDs }}
{{- $source := dict "configMap" (dict "name" "kube-aws-iam-controller-external-ids") }}
{{- $mounts = append $mounts (dict "name" "external-ids" "mountPath" "/etc/external-ids" "source" $source) }}
{{- end }}
{{- with .Values.aws.caBundle.configMap }}
{{- $source := dict "configMap" (dict "name" .) }}
{{- $mounts = append $mounts (dict "name" "ca-bundle" "mountPath" "/etc/ca-bundle" "source" $source) }}
{{- end }}
{{- dict "mounts" $mounts | toYaml }}
{{- end }}

{{/* The volume with the controller's identity, and its mount path, if there is one. */}}
{{- define "volume" -}}
{{- if eq .Values.aws.identity "seed" -}}
mountPath: {{ index .Values.flags "mount-path" | default "/meta/aws-iam" }}
source:
  secret:
    secretName: {{ .Values.aws.seedSecret }}
{{- else if eq .Values.aws.identity "user-keys" -}}
mountPath: /etc/aws
source:
  secret:
    secretName: kube-aws-iam-controller-user-keys
{{- else if eq .Values.aws.identity "roles-anywhere" -}}
mountPath: /var/run/secrets/rolesanywhere.amazonaws.com
source:
  secret:
    secretName: {{ .Values.aws.rolesAnywhere.certificateSecret }}
{{- else if eq .Values.aws.identity "web-identity" -}}
mountPath: /var/run/secrets/sts.amazonaws.com
source:
  projected:
    sources:
    - serviceAccountToken:
        audience: sts.amazonaws.com
        expirationSeconds: 3600
        path: token
{{- end }}
{{- end }}
