{{- define "wardround.name" -}}wardround-{{ .Values.side }}{{- end -}}

{{- define "wardround.image" -}}
{{ .Values.image.repository | default (include "wardround.name" .) }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "wardround.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 60
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.user }}
  runAsGroup: {{ .Values.user }}
  fsGroup: {{ .Values.user }}
  fsGroupChangePolicy: OnRootMismatch # a large folder is not gone through at each start
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "wardround.container" -}}
image: {{ include "wardround.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "wardround.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .Values.storageClass }}
storageClassName: {{ . }}
{{- end }}
{{- end -}}
