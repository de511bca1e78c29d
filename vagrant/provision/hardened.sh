#!/bin/sh
# A node as it should be.
set -eu

cat >/var/lib/kubelet/config.yaml <<'CONF'
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /etc/kubernetes/ca.crt}
authorization: {mode: Webhook}
readOnlyPort: 0
rotateCertificates: true
seccompDefault: true
protectKernelDefaults: true
podPidsLimit: 4096
enableProfilingHandler: false
enableDebugFlagsHandler: false
tlsCipherSuites:
- TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
- TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
- TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
- TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
CONF
chmod 0600 /var/lib/kubelet/config.yaml
chmod 0750 /var/lib/kubelet

# A blacklist would not do: it does not apply to a module that another one needs.
cat >/etc/modprobe.d/nodeward.conf <<'CONF'
install dccp /bin/false
install dccp_ipv4 /bin/false
install dccp_ipv6 /bin/false
install dccp_diag /bin/false
install sctp /bin/false
install sctp_diag /bin/false
CONF

systemctl daemon-reload
systemctl enable --quiet kubelet
systemctl restart kubelet
