{{/* What the admission policies agree on: each user, name and shape once. */}}
{{- define "openeni.admission.words" -}}
agent: system:serviceaccount:{{ include "openeni.namespace" . }}:openeni-agent
operator: system:serviceaccount:{{ include "openeni.namespace" . }}:openeni-operator
controllers: # with --use-service-account-credentials, and without
  - system:serviceaccount:kube-system:generic-garbage-collector
  - system:serviceaccount:kube-system:namespace-controller
  - system:kube-controller-manager
finalizer: {pool: openeni.io/enis, eni: openeni.io/port, podip: openeni.io/datapath}
label: {veth: datapath.openeni.io/veth, ipvlan: datapath.openeni.io/ipvlan}
taint: node.openeni.io/agent-not-ready
eniLabel: {pool: openeni.io/pool, node: openeni.io/node-hash}
retained: openeni.io/retained
time: ^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$
timeLike: such as 2026-01-31T12:00:00Z
agentController: openeni.io/agent # in the Events that an agent records
podReasons: [NoPool, PodNotSeen, AgentNotSynced, NoENIReady, AddressesExhausted, TooManyPodsWait, HostPortInUse, TooManyHostPorts, AddressNotAvailable, InvalidAnnotation, DatapathFailed, OtherPluginFirst, JournalFailed, AgentFailed, BandwidthNotLimited]
nodeReasons: [RepairsRepeated]
agentManager: openeni-agent # field manager of everything that an agent writes
# What the API server writes itself in every object. managedFields may be written by clients, too: the
# agent's policies bound them, so that nobody's objects grow and no field gets a second owner.
served: [metadata.managedFields, metadata.resourceVersion, metadata.generation]
created: [name, namespace, uid, creationTimestamp, generation, managedFields, ownerReferences, finalizers]
{{- end }}

{{/* A policy's binding and head. Takes a list: the chart's scope, name, user. */}}
{{- define "openeni.admission.head" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ index . 1 }}
  {{- include "openeni.marks" (index . 0) | nindent 2 }}
spec:
  policyName: {{ index . 1 }}
  validationActions: [Deny]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ index . 1 }}
  {{- include "openeni.marks" (index . 0) | nindent 2 }}
{{- end }}

{{/* Variables: the subresource, or ''; the paths, two deep, at which an UPDATE's two objects differ. */}}
{{- define "openeni.admission.changed" -}}
- name: subresource
  expression: request.?subResource.orValue('')
- name: changed
  expression: >-
    {{- range $i, $part := list "metadata" "spec" "status" }}
    {{ if $i }}+ {{ end }}dyn(object).?{{ $part }}.orValue({})
    .filter(k, dyn(object).?{{ $part }}[?k] != dyn(oldObject).?{{ $part }}[?k]).map(k, '{{ $part }}.' + k)
    + dyn(oldObject).?{{ $part }}.orValue({})
    .filter(k, !dyn(object).?{{ $part }}[?k].hasValue()).map(k, '{{ $part }}.' + k)
    {{- end }}
{{- end }}

{{- define "openeni.admission.finalizers" -}}
- name: finalizers
  expression: object.metadata.?finalizers.orValue([])
- name: oldFinalizers
  expression: oldObject.metadata.?finalizers.orValue([])
{{- end }}

{{/* Variables: the types of the conditions that differ in an UPDATE. */}}
{{- define "openeni.admission.changedConditions" -}}
- name: conditions
  expression: object.?status.?conditions.orValue([])
- name: oldConditions
  expression: oldObject.?status.?conditions.orValue([])
- name: newConditions
  expression: variables.conditions.filter(c, !(c in variables.oldConditions))
- name: changedConditions
  expression: >-
    variables.newConditions.map(c, c.type) +
    variables.oldConditions.filter(c, !(c in variables.conditions)).map(c, c.type)
{{- end }}

{{/* A validation: an UPDATE changes the paths in `may` only, or in `mayStatus` through /status. */}}
{{- define "openeni.admission.mayChange" -}}
{{- $served := (include "openeni.admission.words" .root | fromYaml).served }}
{{- $may := toJson (concat $served (.may | default list)) }}
{{- if .mayStatus }}
{{- $may = printf "(variables.subresource == 'status' ? %s : %s)" (toJson (concat $served .mayStatus)) $may }}
{{- end }}
- expression: >-
    request.operation != 'UPDATE' || variables.changed.all(path, path in {{ $may }})
  messageExpression: >-
    variables.changed.filter(path, !(path in {{ $may }})).join(', ') + ': {{ .says }}'
  reason: Forbidden
{{- end }}

{{/* A validation: of the conditions an UPDATE changes those of these types only. */}}
{{- define "openeni.admission.mayChangeConditions" -}}
- expression: >-
    request.operation != 'UPDATE' ||
    variables.changedConditions.all(type, type in {{ toJson .types }})
  messageExpression: >-
    'status.conditions: ' +
    variables.changedConditions.filter(type, !(type in {{ toJson .types }})).join(', ') +
    ': {{ .says }}'
  reason: Forbidden
- expression: >-
    request.operation != 'UPDATE' || variables.newConditions
    .all(c, dyn(c).?lastTransitionTime.orValue('').matches('{{ .words.time }}'))
  message: "status.conditions: lastTransitionTime is a time in UTC with whole seconds, {{ .words.timeLike }}"
  reason: Forbidden
{{- end }}

{{/* A validation: an UPDATE leaves the finalizers, or takes this one off. */}}
{{- define "openeni.admission.mayRelease" -}}
- expression: >-
    request.operation != 'UPDATE' ||
    variables.finalizers == variables.oldFinalizers ||
    variables.finalizers == variables.oldFinalizers.filter(f, f != '{{ .finalizer }}')
  message: "metadata.finalizers: {{ .says }}"
  reason: Forbidden
{{- end }}

{{/* A validation: metadata of a new object holds nothing but this, what the API server writes included. */}}
{{- define "openeni.admission.mayHold" -}}
- expression: >-
    request.operation != 'CREATE' || dyn(object.metadata).all(k, k in {{ toJson .fields }})
  messageExpression: >-
    dyn(object.metadata).filter(k, !(k in {{ toJson .fields }})).map(k, 'metadata.' + k).join(', ') +
    ': {{ .says }}'
  reason: Forbidden
{{- end }}

{{/*
Variables and validations: managedFields after an agent's write. Entries of other managers may only lose
fields, which is what taking a field over does; those of the agent stay small. Server-side apply removes a
field only when its last owner drops it: an agent that co-owned the operator's fields could keep them.
*/}}
{{- define "openeni.admission.managed" -}}
- name: managed
  expression: dyn(object).metadata.?managedFields.orValue([])
- name: oldManaged
  expression: "request.operation == 'CREATE' ? dyn([]) : dyn(oldObject).metadata.?managedFields.orValue([])"
- name: ownManaged
  expression: variables.managed.filter(m, m.manager == '{{ .agentManager }}')
- name: otherManaged
  expression: >-
    variables.managed.filter(m, m.manager != '{{ .agentManager }}' && !(m in variables.oldManaged))
{{- end }}
{{- define "openeni.admission.mayManage" -}}
- expression: >-
    request.operation == 'DELETE' || variables.otherManaged.all(m, variables.oldManaged.exists(o,
    o.manager == m.manager && o.operation == m.operation &&
    m.?fieldsV1.orValue({}).all(a, a in o.fieldsV1 && m.fieldsV1[a].all(b, b in o.fieldsV1[a] &&
    m.fieldsV1[a][b].all(c, c in o.fieldsV1[a][b] && m.fieldsV1[a][b][c].all(d,
    d in o.fieldsV1[a][b][c] && m.fieldsV1[a][b][c][d] == o.fieldsV1[a][b][c][d]))))))
  message: "metadata.managedFields: an agent writes as the field manager {{ .agentManager }} only"
  reason: Forbidden
- expression: >-
    request.operation == 'DELETE' || (variables.ownManaged.size() <= 4 &&
    variables.ownManaged.map(m, m.?fieldsV1.orValue({})).all(f,
    f.size() <= 16 && f.all(a, a.size() <= 64 && f[a].size() <= 32 && f[a].all(b, b.size() <= 128 &&
    f[a][b].size() <= 32 && f[a][b].all(c, c.size() <= 128 && f[a][b][c].size() <= 16 &&
    f[a][b][c].all(d, d.size() <= 64 && f[a][b][c][d].size() == 0)))) &&
    f.map(a, f[a].map(b, 1 + f[a][b].map(c, 1 + f[a][b][c].size()).sum()).sum()).sum() <= 100))
  message: "metadata.managedFields: the entries of {{ .agentManager }} name more fields than an agent writes"
  reason: Forbidden
{{- end }}

{{/* Variables and validation: the node that the agent's token is bound to. */}}
{{- define "openeni.admission.node" -}}
- name: node
  expression: >-
    request.userInfo.extra[?'authentication.kubernetes.io/node-name'][?0].orValue('')
{{- end }}
{{- define "openeni.admission.bound" -}}
- expression: variables.node != ''
  message: the agent's token is bound to no node; request it for the agent's pod or Node
  reason: Forbidden
{{- end }}
