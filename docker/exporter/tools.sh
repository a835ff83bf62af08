#!/bin/sh
# Fetches AWS's aws-neuronx-tools, and lays out what the exporter needs of it as a tree to copy:
#   tools.sh VERSION REPOSITORY SUITE FINGERPRINT /tools
set -eu
version=$1 repository=$2 suite=$3 fingerprint=$4 tree=$5
bin=/opt/aws/neuron/bin lib=/opt/aws/neuron/lib

# The database of packages as the image has it, before this stage installs what it needs itself.
mkdir -p "$tree/var/lib/dpkg/info"
cp /var/lib/dpkg/status "$tree/var/lib/dpkg/status"

apt-get update -q
apt-get install -y -q --no-install-recommends ca-certificates curl gnupg
[ ! -e /run/secrets/ca.pem ] || export CURL_CA_BUNDLE=/run/secrets/ca.pem
curl -fsSL --retry 3 -o /neuron.asc "$repository/GPG-PUB-KEY-AMAZON-AWS-NEURON.PUB"
# Of each key that is in the file, and not of its subkeys: a second key is none that was asked for.
found=$(gpg --batch --with-colons --show-keys /neuron.asc |
    awk -F: '$1 == "pub" { own = 1 } $1 == "fpr" && own { print $10; own = 0 }')
[ "$found" = "$fingerprint" ] || {
    echo "the repository's key has fingerprint $found, wanted is $fingerprint" >&2
    exit 1
}
gpg --batch --dearmor -o /neuron.gpg /neuron.asc
echo "deb [arch=amd64 signed-by=/neuron.gpg] $repository $suite main" \
    >/etc/apt/sources.list.d/neuron.list
cafile=${CURL_CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
apt-get update -q -o "Acquire::https::CAInfo=$cafile"

# Downloaded, not installed: its dependencies are for profiling, and its scripts for a host.
mkdir /download /package
cd /download
apt-get download -q -o "Acquire::https::CAInfo=$cafile" "aws-neuronx-tools=$version"
dpkg-deb -x ./*.deb /package

mkdir -p "$tree$bin"
for program in neuron-monitor neuron-ls; do
    install -m 0755 "/package$bin/$program" "$tree$bin/$program"
    # Libraries of the package go with it; others must be in the image already.
    LD_LIBRARY_PATH="/package$lib" ldd "$tree$bin/$program" >/needs 2>&1 || true # static: not dynamic
    if grep 'not found' /needs >&2; then
        echo "$program needs a library that neither the package nor the image has" >&2
        exit 1
    fi
    sed -n "s|.* => \(/package$lib/[^ ]*\) .*|\1|p" /needs | while read -r library; do
        install -D -m 0644 "$library" "$tree$lib/$(basename "$library")"
    done
done
for notice in /package/usr/share/doc/aws-neuronx-tools /package/opt/aws/neuron/share/doc; do
    [ ! -d "$notice" ] || { mkdir -p "$tree/usr/share/doc/aws-neuronx-tools" &&
        cp -R "$notice/." "$tree/usr/share/doc/aws-neuronx-tools/"; }
done

# As installed, as far as it is: the exporter and scanners of images read its version there.
{
    echo
    echo 'Package: aws-neuronx-tools'
    echo 'Status: install ok installed'
    for field in Version Architecture Maintainer Section Priority Description; do
        value=$(dpkg-deb -f ./*.deb "$field" | head -n 1)
        [ -z "$value" ] || echo "$field: $value"
    done
} >>"$tree/var/lib/dpkg/status"
cd "$tree"
about=var/lib/dpkg/info/aws-neuronx-tools
find opt usr 2>/dev/null | sed 's|^|/|' >"$about.list"
find opt usr -type f -exec md5sum {} + 2>/dev/null >"$about.md5sums"
