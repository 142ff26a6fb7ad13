{{/* Labels and annotations of a CRD. Takes a list: the chart's scope, the CRD's digest. The chart's own name is
an alias where it is a sub-chart. */}}
{{- define "openeni-crds.metadata" -}}
{{- $root := index . 0 -}}
annotations:
  openeni.io/bundle-version: {{ printf "%s+%s" $root.Chart.AppVersion (index . 1) | quote }}
  {{- if $root.Values.keep }}
  helm.sh/resource-policy: keep
  {{- end }}
labels:
  helm.sh/chart: {{ printf "openeni-crds-%s" $root.Chart.Version | replace "+" "_" }}
  app.kubernetes.io/name: openeni-crds
  app.kubernetes.io/instance: {{ $root.Release.Name }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/part-of: openeni
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- end }}
