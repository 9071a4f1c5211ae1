#!/usr/bin/env bash
# Makes the certificates of the tests: authorities, servers and clients that nobody trusts. They
# are valid for a hundred years, and their keys are no secret.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# authority NAME
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 \
        -subj "/CN=$1 of the tests" -keyout "$1.key" -out "$1.pem" \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign'
}

# signed NAME AUTHORITY SUBJECT_ALTERNATIVE_NAME USAGE
signed() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 36500 \
        -out "$1.pem" -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=%s\n' "$3" "$4")
    rm "$1.csr"
}

authority authority
authority stranger
signed server authority 'DNS:localhost,IP:127.0.0.1' serverAuth
signed moved stranger 'DNS:localhost,IP:127.0.0.1' serverAuth
signed crm authority 'DNS:crm.test' clientAuth
signed other authority 'DNS:other.test' clientAuth
signed forger stranger 'DNS:crm.test' clientAuth
rm -f ./*.srl authority.key stranger.key
