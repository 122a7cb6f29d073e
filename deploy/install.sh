#!/bin/sh
# Installs Wardround as a service on Debian 12 or another Linux with systemd and Python 3.11, as root:
#
#   install.sh site [--join FILE]                    a hospital's site; FILE holds the line of the invitation (-: standard input)
#   install.sh coordinator --name NAME --host HOST   the coordinator of a new federation
#   install.sh site|coordinator --remove             undoes it; what the service wrote stays, unless it wrote nothing
#
# --dry-run says the steps and does none. It says each step before it does it, and does it again without harm: to upgrade,
# run it from the new version. It changes nothing but: the user `wardround`, /opt/wardround, /usr/local/bin/wardround, the
# unit in /etc/systemd/system, /etc/wardround, and the service's folder in /var/lib.
#
# Beside a folder `wheels` (`make wheelhouse`) it needs no network: nothing but these files, by their SHA-256, is installed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
user=wardround program=/opt/wardround command=/usr/local/bin/wardround settings=/etc/wardround
units=/etc/systemd/system
side=${1:-} name='' host='' join='' remove='' dry=''

die() { echo "error: $1" >&2; exit 2; }
say() { printf '\n-> %s\n' "$1"; }

# Says what it is about to do, and does it.
run() {
    printf '   %s\n' "$*"
    [ -n "$dry" ] || "$@"
}

options() {
    case "$side" in site|coordinator) shift ;; *) die "say what to install: site or coordinator (see the head of $0)" ;; esac
    while [ $# -gt 0 ]; do
        case "$1" in
            --remove) remove=yes ;;
            --dry-run) dry=yes ;;
            --name|--host|--join)
                [ $# -gt 1 ] || die "$1 needs a value"
                case "$1" in --name) name=$2 ;; --host) host=$2 ;; --join) join=$2 ;; esac
                shift ;;
            *) die "unknown option $1" ;;
        esac
        shift
    done
    case "$join" in ''|-|/*) ;; *) join=$PWD/$join ;; esac
    case "$join" in ''|-) ;; *) [ -r "$join" ] || die "$join can't be read: it is the file with the line of the invitation" ;; esac
    cd / # the service's user may not be where root is
    [ -n "$dry" ] || [ "$(id -u)" -eq 0 ] || die "only root can install a service"
    case "$side" in
        site) unit=wardround-site.service folder=/var/lib/wardround extras='[dimse,postgres]' ;;
        coordinator) unit=wardround-coordinator.service folder=/var/lib/wardround-coordinator extras='' ;;
    esac
}

still_to_do() { echo "   What is a failure above is still to be done; the service is installed all the same."; }

has_systemd() { [ -d /run/systemd/system ]; }

install_python() {
    if python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then return; fi
    command -v apt-get >/dev/null || die "Python 3.11 or newer with venv is missing, and this is no Debian: install it"
    say "Python with venv"
    run apt-get update -qq
    run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv
}

make_user() {
    if id "$user" >/dev/null 2>&1; then return; fi
    say "A user of its own, which can't log in"
    run useradd --system --user-group --home-dir "$folder" --no-create-home --shell /usr/sbin/nologin "$user"
}

install_program() {
    say "The program"
    run install -d -m 0755 "$program"
    [ -x "$program/venv/bin/python" ] || run python3 -m venv "$program/venv"
    pip="$program/venv/bin/python -m pip install --disable-pip-version-check --root-user-action=ignore --quiet"
    if [ -d "$here/wheels" ]; then
        (cd "$here" && sha256sum --quiet --check SHA256SUMS) || die "a file beside $0 is not what was packed: get the archive again"
        run $pip --no-index --no-deps --require-hashes --find-links "$here/wheels" -r "$here/requirements.txt"
    else
        # Of PyTorch the coordinator needs no CUDA: its index of smaller builds; TORCH_INDEX= leaves it out.
        index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}
        [ "$side" = coordinator ] && [ -n "$index" ] && pip="$pip --extra-index-url $index"
        run $pip -c "$here/../constraints.txt" "$here/..$extras"
    fi
    run ln -sfn "$program/venv/bin/wardround" "$command"
}

install_unit() {
    source=$here/$unit
    [ -f "$source" ] || source=$here/systemd/$unit
    say "The service"
    run install -d -m 0755 "$units"
    run install -m 0644 "$source" "$units/$unit"
    if has_systemd; then run systemctl daemon-reload; fi
}

start_service() {
    if has_systemd; then
        say "Starts it, now and whenever this machine starts"
        run systemctl enable "$unit"
        run systemctl restart "$unit"
        run systemctl --no-pager --lines=0 status "$unit"
    else
        say "systemd does not run here; by hand it is, from a folder that the user may enter"
        printf '   cd / && %s\n' "$1"
    fi
}

install_site() {
    [ -d "$folder" ] || { say "Its folder"; run install -d -m 0700 -o "$user" -g "$user" "$folder"; }
    install_unit
    if [ -n "$join" ] && [ ! -e "$folder/site.toml" ]; then
        say "Joins the federation"
        if [ "$join" != - ] && [ -z "$dry" ]; then exec <"$join"; fi
        run runuser -u "$user" -- "$command" client enrol - --dir "$folder"
    fi
    if [ -e "$folder/site.toml" ]; then
        say "The first check"
        run runuser -u "$user" -- "$command" client check --dir "$folder" || still_to_do
        start_service "runuser -u $user -- $command client start --dir $folder"
    else
        say "Then, with the line that the coordinator's operator sends you in the file INVITATION"
        printf '   %s\n' "$here/install.sh site --join INVITATION"
    fi
}

install_coordinator() {
    if [ ! -e "$folder/server.toml" ]; then
        [ -n "$name" ] && [ -n "$host" ] || die "a new federation needs --name and --host"
        say "The passphrase of the authority's key, which root alone can read: keep a copy elsewhere"
        run install -d -m 0755 "$settings"
        [ -e "$settings/ca-passphrase" ] || run make_passphrase
        say "The federation"
        run found_federation
    fi
    install_unit
    start_service "runuser -u $user -- env WARDROUND_CA_PASSPHRASE_FILE=- $command server start --dir $folder <$settings/ca-passphrase"
    say "The first check"
    run runuser -u "$user" -- "$command" server check --dir "$folder" || still_to_do
    say "Then invite a hospital"
    printf '   cd / && %s\n' "runuser -u $user -- $command server invite ST-MARY --dir $folder"
}

make_passphrase() {
    (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$settings/ca-passphrase" && echo >>"$settings/ca-passphrase")
}

# As root, since it makes the folder whole or not at all beside where it will be; then it is the service's.
found_federation() {
    WARDROUND_CA_PASSPHRASE_FILE=- "$command" server init "$folder" --name "$name" --host "$host" <"$settings/ca-passphrase"
    chown -R "$user:$user" "$folder"
    chmod 0700 "$folder"
}

undo() {
    if [ -e "$units/$unit" ]; then
        say "Ends the service"
        if has_systemd; then run systemctl disable --now "$unit"; fi
        run rm "$units/$unit"
        if has_systemd; then run systemctl daemon-reload; fi
    fi
    if [ -d "$folder" ] && [ -z "$(ls -A "$folder")" ]; then run rmdir "$folder"; fi
    others=$(ls "$units"/wardround-*.service 2>/dev/null || true)
    if [ -n "$others" ]; then echo "kept, as $others needs them: $program, the user $user"; return; fi
    say "The program"
    run rm -rf "$program"
    run rm -f "$command"
    if [ -d "$settings" ] && [ -z "$(ls -A "$settings")" ]; then run rmdir "$settings"; fi
    kept=$(ls -d /var/lib/wardround /var/lib/wardround-coordinator "$settings" 2>/dev/null || true)
    if [ -z "$kept" ]; then
        if id "$user" >/dev/null 2>&1; then say "The user"; run userdel "$user"; fi
    else
        say "Kept: keys, logs and what was spent of patients' privacy; remove them by hand, and then the user"
        printf '   rm -r %s\n' $kept
        printf '   userdel %s\n' "$user"
    fi
}

options "$@"
if [ -n "$remove" ]; then undo; exit; fi
install_python
make_user
install_program
install_"$side"
