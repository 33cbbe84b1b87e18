{{- define "gvList" -}}
# API reference

<!-- Generated from the types in api/v1 by make generate. Do not edit. -->

How the controller treats an AWSIAMRole is in [awsiamrole.md](awsiamrole.md).
{{- range . }}
{{- range .SortedTypes }}
{{- template "type" . }}
{{- end }}
{{- end }}
{{ end -}}

{{- define "type" }}

## {{ .Name }}

{{ .Doc }}
{{- if .SortedReferences }}

Used in:
{{- range .SortedReferences }} {{ markdownRenderTypeLink . }}{{ end }}.
{{- end }}

| field | type | description | validation |
|---|---|---|---|
{{- if .GVK }}
| `apiVersion` | string | `{{ .GVK.Group }}/{{ .GVK.Version }}` | |
| `kind` | string | `{{ .GVK.Kind }}` | |
{{- end }}
{{- range .Members }}
| `{{ .Name }}` | {{ markdownRenderType .Type }} | {{ if ne .Name "metadata" }}{{ .Doc | replace "\n" " " }}{{ end }} |
{{- range .Validation }}{{ if not (hasPrefix "Optional" .) }} {{ . }}.{{ end }}{{ end }} |
{{- end }}
{{- end -}}
