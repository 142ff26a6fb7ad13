{{/* The namespace of everything that has one. */}}
{{- define "openeni.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/* Labels that nobody's values may replace. */}}
{{- define "openeni.ownLabels" -}}
app.kubernetes.io/name: openeni
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: openeni
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "openeni.labels" -}}
{{- $chart := dict "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- toYaml (merge $chart (include "openeni.ownLabels" . | fromYaml) (.Values.commonLabels | default dict)) }}
{{- end }}

{{/* Labels and annotations of an object's metadata. */}}
{{- define "openeni.marks" -}}
labels: {{- include "openeni.labels" . | nindent 2 }}
{{- with .Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels that select a component's pods. Takes a list: the chart's scope, the component. */}}
{{- define "openeni.selectorLabels" -}}
app.kubernetes.io/name: openeni
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of a component's pods. Takes a list: the chart's scope, the component. */}}
{{- define "openeni.podLabels" -}}
{{- $root := index . 0 }}
{{- $own := merge (include "openeni.selectorLabels" . | fromYaml) (include "openeni.ownLabels" $root | fromYaml) }}
{{- $pod := (index $root.Values (index . 1)).podLabels | default dict }}
{{- toYaml (merge $own $pod ($root.Values.commonLabels | default dict)) }}
{{- end }}
