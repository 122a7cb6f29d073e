#!/bin/sh
# Packs what a hospital's site, or a coordinator, is installed from without a network: one archive for each in build/,
# for machines with this Python, this processor and this system. `make wheelhouse` runs it.
#
# In it are the wheels of Wardround and of all that it needs, requirements.txt with their SHA-256, install.sh and the unit,
# and SHA256SUMS of all of these; with KEY=FILE (a private key of OpenSSH) also SHA256SUMS.sig.
# TORCH=gpu packs PyTorch with CUDA for the site. A coordinator never needs it.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3} torch=${TORCH:-cpu} key=${KEY:-}
# Of PyTorch's smaller builds; empty: they are where pip looks anyway.
index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}

# What is packed is built of a copy: what lies in build/ from earlier would be packed, too.
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
for part in pyproject.toml README.md LICENSE wardround shared client server simulate; do cp -r "$project/$part" "$source"; done

pack() {
    side=$1 extras=$2 torch=$3
    folder=$project/build/wardround-$side
    rm -rf "$folder"
    mkdir -p "$folder/wheels"
    set -- --quiet --disable-pip-version-check --wheel-dir "$folder/wheels" -c "$project/constraints.txt"
    [ "$torch" = gpu ] || [ -z "$index" ] || set -- "$@" --extra-index-url "$index"
    "$python" -m pip wheel "$@" "$source$extras"
    for wheel in "$folder"/wheels/*.whl; do
        base=$(basename "$wheel")
        name=${base%%-*} rest=${base#*-}
        echo "$name==${rest%%-*} --hash=sha256:$(sha256sum "$wheel" | cut -d ' ' -f 1)"
    done >"$folder/requirements.txt"
    cp "$project/deploy/install.sh" "$project/deploy/systemd/wardround-$side.service" "$project/LICENSE" "$folder"
    (cd "$folder" && find . -type f ! -name 'SHA256SUMS*' -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
    [ -z "$key" ] || ssh-keygen -q -Y sign -f "$key" -n wardround "$folder/SHA256SUMS"
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --file "$project/build/wardround-$side.tar" \
        --directory "$project/build" "wardround-$side"
    rm -rf "$folder"
    ls -l "$project/build/wardround-$side.tar" | awk '{printf "%s  %d MB\n", $NF, $5 / 1e6}'
}

[ $# -gt 0 ] || set -- site coordinator
for side in "$@"; do
    case "$side" in
        site) pack site '[dimse,postgres]' "$torch" ;;
        coordinator) pack coordinator '' cpu ;;
        *) echo "error: unknown side $side" >&2; exit 2 ;;
    esac
done
