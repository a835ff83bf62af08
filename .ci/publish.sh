#!/bin/sh
# Publish what `make release` has written: make publish VERSION=0.1.0 REGISTRY=ghcr.io/OWNER
# Pushes the image without AWS's tools for amd64 and arm64, and the chart, and signs both with cosign
# (keyless: with the identity of the workflow).
set -eu
version=$1 registry=$2
cd "$(dirname "$0")/.."
fail() {
    echo "publish: $*" >&2
    exit 2
}
[ -n "$registry" ] || fail "REGISTRY is required, such as ghcr.io/OWNER"
chart=dist/neuron-exporter-$version.tgz
[ -e "$chart" ] || fail "$chart is missing: run make release VERSION=$version"
(cd dist && sha256sum --quiet --check SHA256SUMS) || fail "dist differs from its SHA256SUMS"
: "${HELM:=helm}"
for program in docker cosign "$HELM"; do # nothing is pushed that cannot be signed
    command -v "$program" >/dev/null || fail "$program is not installed"
done

commit=$(git rev-parse HEAD)
epoch=$(git show --no-patch --format=%ct HEAD)
base=$(sed -n 's/^ARG PYTHON_IMAGE=//p' docker/exporter/Dockerfile)
digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$base")
home=$(python3 -c 'import runpy; print(runpy.run_path("exporter/neuron_exporter/facts/project.py")["HOME"])')
image=$registry/neuron-exporter
metadata=$(mktemp)
# buildx gives all files of the layers the time in SOURCE_DATE_EPOCH.
SOURCE_DATE_EPOCH=$epoch docker buildx build --file docker/exporter/Dockerfile \
    --platform linux/amd64,linux/arm64 --build-arg NEURON_TOOLS=none \
    --build-arg "PYTHON_IMAGE=$base@$digest" --build-arg "BASE_DIGEST=$digest" --build-arg "VERSION=$version" \
    --build-arg "REVISION=$commit" --build-arg "SOURCE=${home:-unknown}" \
    --build-arg "URL=${home:-unknown}" \
    --build-arg "CREATED=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" \
    --provenance mode=max --sbom true --metadata-file "$metadata" \
    --output "type=image,push=true,rewrite-timestamp=true" --tag "$image:$version-toolless" .
pushed=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["containerimage.digest"])' \
    "$metadata")
rm "$metadata"
cosign sign --yes "$image@$pushed"

output=$("$HELM" push "$chart" "oci://$registry/charts" 2>&1) || fail "$output"
pushed=$(echo "$output" | sed -n 's/^Digest: *//p')
cosign sign --yes "$registry/charts/neuron-exporter@$pushed"
