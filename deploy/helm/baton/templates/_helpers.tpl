{{/* The chart's name. */}}
{{- define "baton.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of all objects: the release's if that says baton already, otherwise both. */}}
{{- define "baton.fullname" -}}
{{- $name := include "baton.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What the DaemonSet finds its pods by. It cannot be changed later. */}}
{{- define "baton.selector" -}}
app.kubernetes.io/name: {{ include "baton.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of all objects. Helm adds its own when it installs; the plain manifest has no Helm. */}}
{{- define "baton.labels" -}}
{{ include "baton.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "baton.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "baton.fullname" .) "default") }}
{{- end }}

{{- define "baton.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whether AppArmor's profile is a field, as it is since Kubernetes 1.30. Before that it is an annotation. */}}
{{- define "baton.appArmorIsField" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}true{{ end }}
{{- end }}

{{/* AppArmor's profile in the words of the annotation. */}}
{{- define "baton.appArmorAnnotation" -}}
{{- with .Values.appArmorProfile }}
{{- if eq .type "Localhost" }}localhost/{{ .localhostProfile }}
{{- else if eq .type "RuntimeDefault" }}runtime/default
{{- else }}unconfined
{{- end }}
{{- end }}
{{- end }}

{{/* Where the kubelet asks for health: at the pod's own address, unless the agent listens at a certain one. */}}
{{- define "baton.probeHost" -}}
{{- if not (has .Values.health.address (list "0.0.0.0" "[::]")) }}
{{- .Values.health.address | trimAll "[]" | quote }}
{{- end }}
{{- end }}
