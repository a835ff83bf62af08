#!/bin/sh
# Builds the image without an engine, for the tests: needs root, buildah and debootstrap.
#   tests/image/build.sh FOLDER PYTHON
# FOLDER then has the image as an OCI layout (oci), its root file system (root), and what is worth
# keeping for the next time: the wheels, and buildah's storage with the base. PYTHON has pip.
# A release sets VERSION, REVISION, SOURCE, URL and SOURCE_DATE_EPOCH, the time of all files.
set -eu
python=$2
mkdir -p "$1"
folder=$(readlink -f "$1")
top=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
suite=bookworm # the Debian of the Dockerfile's PYTHON_IMAGE
base=localhost/python-base:$suite image=localhost/neuron-exporter:test

buildah() {
    # Its own storage: nothing else on this machine is read or written. vfs works everywhere.
    command buildah --root "$folder/storage" --runroot "$folder/runroot" --storage-driver vfs "$@"
}

# Debian's Python in place of Docker's image, which needs a registry. Where this machine gets Debian's
# packages from, the base gets them from; its name stays out of the image.
if [ ! -e "$folder/base.done" ]; then
    echo "making the base with debootstrap"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
        head -n 1)
    rm -rf "$folder/base" "$folder/storage"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" \
        "$folder/base" ${mirror:+"$mirror"} >"$folder/debootstrap.log" 2>&1 || {
        tail -n 5 "$folder/debootstrap.log" >&2
        exit 1
    }
    rm -rf "$folder/base/var/cache/apt" "$folder/base/var/lib/apt/lists" \
        "$folder/base/var/log/bootstrap.log" "$folder/base/etc/apt/sources.list" \
        "$folder/base/etc/resolv.conf" "$folder/base/etc/hostname" "$folder/base/usr/share/doc" \
        "$folder/base/usr/share/locale" "$folder/base/usr/share/man"
    container=$(buildah from scratch)
    buildah copy -q "$container" "$folder/base" / >/dev/null
    buildah config --cmd /bin/sh "$container"
    buildah commit -q "$container" "$base" >/dev/null
    buildah rm "$container" >/dev/null
    rm -rf "$folder/base"
    touch "$folder/base.done"
fi

# Wheels are fetched here, as this machine fetches them, and installed there without an index: its
# package index, proxies and authorities are nowhere in the build.
requirements=$top/docker/exporter/requirements.txt
if ! cmp -s "$requirements" "$folder/requirements.done"; then
    echo "fetching wheels"
    rm -rf "$folder/wheels"
    "$python" -m pip download -qq --disable-pip-version-check --python-version 3.11 \
        --only-binary :all: --no-deps --require-hashes -d "$folder/wheels" -r "$requirements"
    cp "$requirements" "$folder/requirements.done"
fi
printf '[global]\nno-index = true\nfind-links = /mnt\n' >"$folder/pip.conf"

buildah rm --all >/dev/null # what a build that failed has left
epoch=${SOURCE_DATE_EPOCH:-$(date +%s)}
# docker: the OCI format knows no HEALTHCHECK.
buildah build --pull-never --isolation chroot --network host --format docker \
    --file "$top/docker/exporter/Dockerfile" --tag "$image" \
    --build-arg "PYTHON_IMAGE=$base" --build-arg NEURON_TOOLS=none \
    --build-arg "VERSION=${VERSION:-test}" --build-arg "REVISION=${REVISION:-0000000}" \
    --build-arg "SOURCE=${SOURCE:-https://example.com/neuron-exporter}" \
    --build-arg "URL=${URL:-https://example.com/neuron-exporter}" \
    --build-arg "CREATED=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" --timestamp "$epoch" \
    --build-arg "BASE_DIGEST=$(buildah images --format '{{.Digest}}' "$base")" \
    --secret "id=pip.conf,src=$folder/pip.conf" --volume "$folder/wheels:/mnt:ro" \
    "$top" >"$folder/build.log" 2>&1 || {
    tail -n 20 "$folder/build.log" >&2
    exit 1
}

rm -rf "$folder/root" "$folder/image"
buildah push -q "$image" "dir:$folder/image" >/dev/null
buildah push -q "$base" "dir:$folder/base-image" >/dev/null
container=$(buildah from --pull-never "$image")
cp -a "$(buildah mount "$container")" "$folder/root"
buildah umount "$container" >/dev/null
buildah rm "$container" >/dev/null
buildah rmi --prune >/dev/null # stages, and images that were built before
