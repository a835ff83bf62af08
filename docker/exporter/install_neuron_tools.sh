#!/bin/sh
# Download AWS's package aws-neuronx-tools and put the files that the exporter needs into a tree:
#   install_neuron_tools.sh VERSION REPOSITORY SUITE FINGERPRINT /tools
set -eu
version=$1 repository=$2 suite=$3 fingerprint=$4 tree=$5
bin=/opt/aws/neuron/bin lib=/opt/aws/neuron/lib

# Save the image's package database before this stage installs its own tools.
mkdir -p "$tree/var/lib/dpkg/info"
cp /var/lib/dpkg/status "$tree/var/lib/dpkg/status"

apt-get update -q
apt-get install -y -q --no-install-recommends ca-certificates curl gnupg
[ ! -e /run/secrets/ca.pem ] || export CURL_CA_BUNDLE=/run/secrets/ca.pem
curl -fsSL --retry 3 -o /neuron.asc "$repository/GPG-PUB-KEY-AMAZON-AWS-NEURON.PUB"
# Compare the fingerprints of all primary keys in the file: a second key is rejected.
found=$(gpg --batch --with-colons --show-keys /neuron.asc |
    awk -F: '$1 == "pub" { own = 1 } $1 == "fpr" && own { print $10; own = 0 }')
[ "$found" = "$fingerprint" ] || {
    echo "NEURON_KEY: the repository's key must have the fingerprint $fingerprint (got $found)" >&2
    exit 1
}
gpg --batch --dearmor -o /neuron.gpg /neuron.asc
echo "deb [arch=amd64 signed-by=/neuron.gpg] $repository $suite main" \
    >/etc/apt/sources.list.d/neuron.list
cafile=${CURL_CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
apt-get update -q -o "Acquire::https::CAInfo=$cafile"

# Download without installing: the dependencies are for profiling, the maintainer scripts for a
# host.
mkdir /download /package
cd /download
apt-get download -q -o "Acquire::https::CAInfo=$cafile" "aws-neuronx-tools=$version"
dpkg-deb -x ./*.deb /package

mkdir -p "$tree$bin"
for program in neuron-monitor neuron-ls; do
    install -m 0755 "/package$bin/$program" "$tree$bin/$program"
    # Copy libraries that are in the package; all others must be in the image.
    LD_LIBRARY_PATH="/package$lib" ldd "$tree$bin/$program" >/needs 2>&1 || true # fails for static programs
    if grep 'not found' /needs >&2; then
        echo "$program needs a library that neither the package nor the image has" >&2
        exit 1
    fi
    sed -n "s|.* => \(/package$lib/[^ ]*\) .*|\1|p" /needs | while read -r library; do
        install -D -m 0644 "$library" "$tree$lib/$(basename "$library")"
    done
done
for notice in /package/usr/share/doc/aws-neuronx-tools /package/opt/aws/neuron/share/doc; do
    if [ -d "$notice" ]; then
        mkdir -p "$tree/usr/share/doc/aws-neuronx-tools"
        cp -R "$notice/." "$tree/usr/share/doc/aws-neuronx-tools/"
    fi
done

# Register the package, so that the exporter and image scanners find its version.
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
set -- opt
[ ! -d usr ] || set -- opt usr # only if the package has notices
find "$@" | sed 's|^|/|' >"$about.list"
find "$@" -type f -exec md5sum {} + >"$about.md5sums"
