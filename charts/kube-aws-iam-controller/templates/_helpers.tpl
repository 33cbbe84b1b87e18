{{/* Manifests that make generate copied from config, with what they cannot know filled in: (list $ "files/rbac/*.yaml"). */}}
{{- define "copies" -}}
{{- $ := index . 0 }}
{{- $role := $.Values.aws.roleARN | default "kube-aws-iam-controller" | quote }}
{{- $seed := dict "namespace" "" "name" "" }}
{{- if hasPrefix "seed" $.Values.aws.identity }}
{{- $seed = dict "namespace" $.Release.Namespace "name" (include "volume" $ | fromYaml).source.secret.secretName }}
{{- end }}
{{- range $path, $_ := $.Files.Glob (index . 1) }}
---
{{ $.Files.Get $path |
  replace "namespace: kube-system" (printf "namespace: %q" $.Release.Namespace) |
  replace "system:serviceaccount:kube-system:kube-aws-iam-controller" (printf "system:serviceaccount:%s:kube-aws-iam-controller" $.Release.Namespace) |
  replace "expression: \"''\"" (printf "expression: \"'%s'\"" (index $.Values.flags "base-role-arn" | default "")) |
  replace "expression: \"'/'\"" (printf "expression: \"'%s/%s'\"" $seed.namespace $seed.name) |
  replace "roleReference: kube-aws-iam-controller" (printf "roleReference: %s" $role) |
  replace "resourceNames: [kube-aws-iam-controller]" (printf "resourceNames: [%s]" $role) }}
{{- end }}
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
{{ hasPrefix "seed" .Values.aws.identity | ternary "seed" .Values.aws.identity }}
{{- end }}

{{/* The volume by which the controller gets its identity, and where it is mounted, if there is one. */}}
{{- define "volume" -}}
{{- if eq .Values.aws.identity "seed" -}}
mountPath: {{ index .Values.flags "mount-path" | default "/meta/aws-iam" }}
source:
  secret:
    secretName: aws-iam-kube-aws-iam-controller
{{- else if eq .Values.aws.identity "seed-awsiamrole" -}}
mountPath: {{ index .Values.flags "mount-path" | default "/meta/aws-iam" }}
source:
  secret:
    secretName: kube-aws-iam-controller-iam-role
{{- else if eq .Values.aws.identity "user-keys" -}}
mountPath: /etc/aws
source:
  secret:
    secretName: kube-aws-iam-controller-user-keys
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
