{{- /* What the pods of operator and agent have in common. Each takes a list: the chart's scope, the component.
     podSpec takes "job" as a third: a Job of the component, which may run beside its pods. */}}

{{- define "openeni.image" -}}
{{- $root := index . 0 }}
{{- $image := (index $root.Values (index . 1)).image }}
{{- $registry := required "image.registry: no image of openeni is published yet: set it to the registry that holds your images openeni-operator and openeni-agent" ($root.Values.image.registry | default ($root.Values.global | default dict).imageRegistry) }}
{{- $name := printf "%s/%s" $registry $image.repository }}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}
{{- else }}{{ $name }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Takes the chart's own annotations as a third. */}}
{{- define "openeni.podMetadata" -}}
labels: {{- include "openeni.podLabels" . | nindent 2 }}
{{- $given := (index (index . 0).Values (index . 1)).podAnnotations | default dict }}
{{- with merge (dict) $given (index . 2) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Secrets to pull with, as names of objects or, as some parent charts have them, plain names. */}}
{{- define "openeni.pullSecrets" -}}
{{- range .Values.image.pullSecrets | default (.Values.global | default dict).imagePullSecrets }}
- {{ kindIs "string" . | ternary (dict "name" .) . | toYaml }}
{{- end }}
{{- end }}

{{- define "openeni.podSpec" -}}
{{- $root := index . 0 }}
{{- $values := index $root.Values (index . 1) }}
serviceAccountName: openeni-{{ index . 1 }}
automountServiceAccountToken: true
enableServiceLinks: false
hostNetwork: true # it makes the pods' network: it cannot wait for it
dnsPolicy: Default # the node's: the cluster's DNS may be one of the pods that wait
{{- with include "openeni.pullSecrets" $root }}
imagePullSecrets: {{- . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "hostAliases" }}
{{- with index $values $key }}
{{ $key }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- $affinity := $values.affinity | default dict }}
{{- with has "job" . | ternary (omit $affinity "podAffinity" "podAntiAffinity") $affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- $own := dict "labelSelector" (dict "matchLabels" (include "openeni.selectorLabels" $ | fromYaml)) }}
{{- range . }}
  - {{ if hasKey . "labelSelector" }}{{ toYaml . | nindent 4 | trim }}{{ else }}{{ merge (dict) . $own | toYaml | nindent 4 | trim }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "openeni.container" -}}
{{- $root := index . 0 }}
{{- $values := index $root.Values (index . 1) }}
name: {{ index . 1 }}
image: {{ include "openeni.image" . }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
env: {{- include "openeni.env" . | nindent 2 }}
{{- with $values.resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The chart's own variables, from openeni.<component>.env, and those of extraEnv. */}}
{{- define "openeni.env" -}}
{{- $root := index . 0 }}
{{- $component := index . 1 }}
{{- $env := include (printf "openeni.%s.env" $component) $root | fromYamlArray }}
{{- with $root.Values.kubernetesService }}
{{- if .host }}
{{- $env = append $env (dict "name" "KUBERNETES_SERVICE_HOST" "value" .host) }}
{{- $env = append $env (dict "name" "KUBERNETES_SERVICE_PORT" "value" (toString .port)) }}
{{- end }}
{{- end }}
{{- $names := list }}
{{- range concat $env ((index $root.Values $component).extraEnv | default list) }}
{{- if has .name $names }}
{{- fail (printf "%s.extraEnv: %s is set already: docs/values.md names the value that sets it" $component .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- toYaml (concat $env ((index $root.Values $component).extraEnv | default list)) }}
{{- end }}

{{/* A port of the node that is for us to take. Takes a list: the value's name, the port. */}}
{{- define "openeni.port" -}}
{{- $taken := dict "2379" "etcd" "2380" "etcd" "2381" "etcd" "6443" "kube-apiserver" "10249" "kube-proxy" "10250" "the kubelet" "10256" "kube-proxy" "10257" "kube-controller-manager" "10259" "kube-scheduler" }}
{{- with get $taken (index . 1 | toString) }}
{{- fail (printf "%s: %s listens on port %v of nodes: take another one" (index $ 0) . (index $ 1)) }}
{{- end }}
{{- index . 1 }}
{{- end }}
