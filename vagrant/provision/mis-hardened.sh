#!/bin/sh
# A node with the mistakes that are seen in the field.
set -eu

# Anyone may ask the kubelet for anything, on both of its ports.
cat >/var/lib/kubelet/config.yaml <<'CONF'
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: true}
  webhook: {enabled: false}
authorization: {mode: AlwaysAllow}
readOnlyPort: 10255
rotateCertificates: false
CONF
chmod 0644 /var/lib/kubelet/config.yaml

# Looks like protection and is none: socket() asks for dccp_ipv4, which needs dccp as a dependency.
echo 'blacklist dccp' >/etc/modprobe.d/nodeward.conf

# A serving certificate that ended long ago.
pki=/var/lib/kubelet/pki
if ! [ -e "$pki/expired" ]; then
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$(hostname)" \
    -keyout "$pki/kubelet.key" -out "$pki/kubelet.csr" 2>/dev/null
  printf '%s\n' '[ca]' 'default_ca=it' '[it]' "database=$pki/index" "serial=$pki/serial" \
    'default_md=sha256' 'policy=any' "new_certs_dir=$pki" '[any]' 'commonName=supplied' >"$pki/ca.cnf"
  : >"$pki/index"
  echo 01 >"$pki/serial"
  openssl ca -batch -config "$pki/ca.cnf" -selfsign -keyfile "$pki/kubelet.key" -in "$pki/kubelet.csr" \
    -notext -startdate 20200101000000Z -enddate 20210101000000Z -out "$pki/kubelet.crt" 2>/dev/null
  rm -f "$pki"/index* "$pki"/serial* "$pki/ca.cnf" "$pki/kubelet.csr" "$pki"/01.pem
  touch "$pki/expired"
fi

systemctl daemon-reload
systemctl enable --quiet kubelet
systemctl restart kubelet
