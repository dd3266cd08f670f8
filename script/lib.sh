# shellcheck shell=bash disable=SC2034
# lib.sh - set-up that script/server and script/test share: packages, build.
#
# Knows apt and meson. Must never know what is started or tested afterwards.
# Sourced by bash under `set -euo pipefail`; works without a terminal.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

build_packages=(gcc libc6-dev meson ninja-build pkg-config
    libfuse3-dev libuv1-dev libxxhash-dev)
run_packages=(fuse3 redis-tools)
test_packages=(libcmocka-dev python3 python3-redis rsync git g++ binutils
    util-linux redis-server make patch cpio zip unzip bzip2 xz-utils ed vim xxd
    sqlite3 inotify-tools bsdextrautils)
node_packages=(nodejs npm)

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "$@"
    exit 1
}

installed() {
    # node and npm also come from elsewhere, then as one package.
    case $1 in
    nodejs) command -v node >/dev/null && return ;;
    npm) command -v npm >/dev/null && return ;;
    pkg-config) command -v pkg-config >/dev/null && return ;;
    esac
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Prints those of the packages named that are not installed.
missing() {
    local package
    for package; do
        installed "$package" || printf '%s ' "$package"
    done
}

# Sets as_root to what runs a command as root: nothing, or sudo.
find_root() {
    as_root=()
    [[ $(id -u) -eq 0 ]] && return
    command -v sudo >/dev/null || return 1
    as_root=(sudo)
    # Without a terminal sudo could only hang or fail asking for a password.
    [[ -t 0 ]] || as_root=(sudo -n)
    "${as_root[@]}" true 2>/dev/null || [[ -t 0 ]]
}

# quietly command... - its output is shown only if it fails.
quietly() {
    local log
    log=$("$@" </dev/null 2>&1) || {
        printf '%s\n' "$log" >&2
        return 1
    }
}

apt() {
    quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# need_packages package... - installs what is missing of them.
need_packages() {
    local absent
    if ! command -v dpkg-query apt-get >/dev/null; then
        command -v meson >/dev/null ||
            die "this system has no apt-get; install by hand what Debian calls: $*"
        say "this system has no apt-get; taking for granted: $*"
        return
    fi
    read -ra absent <<<"$(missing "$@")"
    ((${#absent[@]})) || return 0
    find_root || die "not installed: ${absent[*]}; run as root, or: sudo apt-get install ${absent[*]}"
    say "installing ${absent[*]}"
    apt update || say "apt-get update failed; trying with the lists at hand"
    install_quietly "${absent[@]}" ||
        die "apt-get could not install: ${absent[*]}"
}

# redis-server is here to be compared with, not to run: where this is what
# brings it, no service may start, now or at the next boot.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d ours='' status=0
    [[ " $* " == *" redis-server "* ]] || {
        apt install --no-install-recommends "$@"
        return
    }
    [[ -e $policy ]] || {
        ours=$policy
        printf '#!/bin/sh\nexit 101\n' |
            "${as_root[@]}" install -m 755 /dev/stdin "$policy"
    }
    apt install --no-install-recommends "$@" || status=$?
    [[ -z $ours ]] || "${as_root[@]}" rm -f "$ours"
    [[ ! -d /run/systemd/system ]] ||
        "${as_root[@]}" systemctl -q disable --now redis-server || true
    return "$status"
}

# build_in DIR [meson option...] - configures DIR the first time, and builds.
build_in() {
    local dir=$1
    shift
    [[ -f $dir/build.ninja ]] || quietly meson setup "$@" "$dir" "$root" ||
        die "meson could not set up $dir"
    say "building in ${dir#"$root"/}"
    if [[ -t 2 ]]; then
        meson compile -C "$dir" >&2
    else
        quietly meson compile -C "$dir"
    fi || die "building in $dir failed"
}
