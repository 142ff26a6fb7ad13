{{- /* What Helm runs itself: a pod of the operator's image and rights, for one module of openeni_operator.hooks. */}}

{{/* Labels and annotations. Takes a list: the chart's scope, Helm's event, and a weight if its turn is not the first. */}}
{{- define "openeni.hookMarks" -}}
{{- $root := index . 0 -}}
labels: {{- include "openeni.labels" $root | nindent 2 }}
annotations:
  helm.sh/hook: {{ index . 1 }}
  {{- if gt (len .) 2 }}
  helm.sh/hook-weight: {{ index . 2 | quote }}
  {{- end }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
  helm.sh/hook-output-log-policy: hook-succeeded,hook-failed # Helm 4 prints what they say
  {{- with $root.Values.commonAnnotations }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}

{{/* The pod. Takes a list: the chart's scope, the module; "clouds" as a third for one that asks the clouds,
with the operator's settings and credentials. */}}
{{- define "openeni.hookPodSpec" -}}
{{- $root := index . 0 }}
{{- $clouds := has "clouds" . }}
{{- $operator := list $root "operator" "job" -}}
{{- include "openeni.podSpec" $operator | trim }}
restartPolicy: Never
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  {{- if $clouds }}
  fsGroup: 65532 # who may read the Secret
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
containers:
  - name: {{ index . 1 }}
    image: {{ include "openeni.image" $operator }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    terminationMessagePolicy: FallbackToLogsOnError
    command: [python, -m, openeni_operator.hooks.{{ index . 1 }}]
    env:
      - {name: OPENENI_WAIT_SECONDS, value: {{ $root.Values.hooks.waitSeconds | quote }}}
      {{- if $clouds }}
      {{- include "openeni.env" $operator | nindent 6 }}
      {{- else }}
      - {name: OPENENI_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
      {{- with $root.Values.kubernetesService }}{{ if .host }}
      - {name: KUBERNETES_SERVICE_HOST, value: {{ .host | quote }}}
      - {name: KUBERNETES_SERVICE_PORT, value: {{ .port | quote }}}
      {{- end }}{{ end }}
      {{- end }}
    {{- with $root.Values.operator.resources }}
    resources: {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    {{- if $clouds }}
    volumeMounts: {{- include "openeni.operator.volumeMounts" $root | nindent 6 }}
volumes: {{- include "openeni.operator.volumes" $root | nindent 2 }}
    {{- end }}
{{- end }}
