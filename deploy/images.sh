#!/bin/sh
# Builds the images of a hospital's site and of a coordinator, from the archives of `make wheelhouse`: no network is asked
# while they are built. As root, or as a user with subordinate ids, with buildah.
#
#   deploy/images.sh [site] [coordinator]
#
# In build/ are then, for each: wardround-SIDE.oci.tar (`podman load`, `skopeo copy`), what is in it in wardround-SIDE.cdx.json
# (CycloneDX: Python's packages and the system's), and images.SHA256SUMS of all; with KEY=FILE (a private key of OpenSSH) also
# images.SHA256SUMS.sig. BASE=IMAGE is another system than python:3.11-slim, with the same Python.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
base=${BASE:-docker.io/library/python:3.11-slim} key=${KEY:-} python=${PYTHON:-python3}
build=$project/build
cd "$project"
# When it was committed: the same commit gives the same image.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
work=$(mktemp -d "$build/images.XXXXXX")
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/sbom"
"$work/sbom/bin/python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
    'cyclonedx-python-lib[json-validation]>=11,<12' packaging

image() {
    side=$1 name=wardround-$1:$version
    [ -f "$build/wardround-$side.tar" ] || { echo "error: build/wardround-$side.tar is missing: make wheelhouse" >&2; exit 2; }
    tar -xf "$build/wardround-$side.tar" -C "$work"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work/wardround-$side/wheels" 'setuptools>=77,<83'
    buildah build --quiet --network none --build-arg "BASE=$base" --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels \
        --volume "$work/wardround-$side/wheels:/wheels:ro" --timestamp "$SOURCE_DATE_EPOCH" -f "deploy/docker/$side.Dockerfile" -t "$name" .
    container=$(buildah from --pull-never "$name")
    "$work/sbom/bin/python" deploy/sbom.py "$(buildah mount "$container")" "$name" "$build/wardround-$side.cdx.json"
    buildah rm "$container" >/dev/null
    rm -f "$build/wardround-$side.oci.tar"
    buildah push --quiet "$name" "oci-archive:$build/wardround-$side.oci.tar:$name"
    rm -r "$work/wardround-$side"
}

[ $# -gt 0 ] || set -- site coordinator
for side in "$@"; do
    case "$side" in site|coordinator) image "$side" ;; *) echo "error: unknown side $side" >&2; exit 2 ;; esac
done
(cd "$build" && sha256sum wardround-*.oci.tar wardround-*.cdx.json >images.SHA256SUMS)
rm -f "$build/images.SHA256SUMS.sig"
[ -z "$key" ] || ssh-keygen -q -Y sign -f "$key" -n wardround "$build/images.SHA256SUMS"
ls -l "$build"/wardround-*.oci.tar | awk '{printf "%s  %d MB\n", $NF, $5 / 1e6}'
