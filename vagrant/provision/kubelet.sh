#!/bin/sh
# A kubelet as kubeadm sets it up: unit, drop-in, kubeconfig and the two certificates. $1 is the folder
# of these scripts. The daemon is /usr/bin/kubelet if there is one, else one that only waits: what
# nodeward judges is its name, its arguments and its files.
set -eu

here=$1
if [ ! -x /usr/bin/kubelet ]; then
  if [ -x "$here/kubelet" ]; then
    install -m 0755 "$here/kubelet" /usr/bin/kubelet
  else
    command -v gcc >/dev/null || {
      apt-get -qq update
      DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install gcc libc6-dev
    }
    gcc -O1 -o /usr/bin/kubelet "$here/kubelet.c"
  fi
fi

pki=/var/lib/kubelet/pki
install -d -m 0755 /etc/kubernetes /etc/kubernetes/manifests /var/lib/kubelet "$pki" \
  /etc/systemd/system/kubelet.service.d

umask 077
if [ ! -e "$pki/kubelet-client-current.pem" ]; then
  # An authority whose key is thrown away: like the cluster's, it has no business on a node.
  work=$(mktemp -d)
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -subj "/CN=kubernetes" -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -subj "/O=system:nodes/CN=system:node:$(hostname)" \
    -keyout "$work/key" -out "$work/request" 2>/dev/null
  echo 'extendedKeyUsage=clientAuth' >"$work/usage"
  openssl x509 -req -in "$work/request" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial \
    -days 365 -extfile "$work/usage" -out "$work/certificate" 2>/dev/null
  cat "$work/certificate" "$work/key" >"$pki/kubelet-client-first.pem"
  install -m 0644 "$work/ca.crt" /etc/kubernetes/ca.crt
  ln -s kubelet-client-first.pem "$pki/kubelet-client-current.pem"
  rm -r "$work"
fi
if [ ! -e "$pki/kubelet.crt" ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
    -subj "/CN=$(hostname)" -addext "subjectAltName=DNS:$(hostname)" \
    -addext "basicConstraints=critical,CA:FALSE" -addext "extendedKeyUsage=serverAuth" \
    -keyout "$pki/kubelet.key" -out "$pki/kubelet.crt" 2>/dev/null
fi
chmod 0644 "$pki/kubelet.crt"

cat >/etc/kubernetes/kubelet.conf <<CONF
apiVersion: v1
kind: Config
clusters:
- name: default-cluster
  cluster:
    certificate-authority: /etc/kubernetes/ca.crt
    server: https://127.0.0.1:6443
users:
- name: default-auth
  user:
    client-certificate: $pki/kubelet-client-current.pem
    client-key: $pki/kubelet-client-current.pem
contexts:
- name: default-context
  context: {cluster: default-cluster, user: default-auth}
current-context: default-context
CONF
umask 022

cat >/etc/systemd/system/kubelet.service <<'UNIT'
[Unit]
Description=kubelet: The Kubernetes Node Agent

[Service]
ExecStart=/usr/bin/kubelet
Restart=always

[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/kubelet.service.d/10-kubeadm.conf <<'UNIT'
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS
UNIT
