{{/* Labels and annotations of a CRD. The chart's own name is an alias where it is a sub-chart. */}}
{{- define "openeni-crds.metadata" -}}
annotations:
  openeni.io/bundle-version: {{ .Chart.AppVersion | quote }}
  {{- if .Values.keep }}
  helm.sh/resource-policy: keep
  {{- end }}
labels:
  helm.sh/chart: {{ printf "openeni-crds-%s" .Chart.Version | replace "+" "_" }}
  app.kubernetes.io/name: openeni-crds
  app.kubernetes.io/instance: {{ .Release.Name }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
  app.kubernetes.io/part-of: openeni
  app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
