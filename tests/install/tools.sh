#!/bin/bash
# The programs that tests drive and nobody here wrote. As root they are installed from Debian; without root
# this names them, and only the tests that need them skip (in CI a missing one fails).
set -euo pipefail

#        program     package
tools=( "storescu    dcmtk"
        "Orthanc     orthanc"
        "promtool    prometheus"
        "strace      strace"
        "openssl     openssl"
        "bwrap       bubblewrap"
        "systemd-analyze systemd"
        "chromium-headless-shell chromium-headless-shell"
        "curl        curl"
        "kcat        kcat"
        "java        default-jre-headless"
        "mvn         maven" )

missing=()
for tool in "${tools[@]}"; do
    read -r program package <<<"$tool"
    PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Not installed: ${missing[*]}. Tests that need them will skip."
    echo "To run them all: sudo apt-get install ${missing[*]}"
    exit 0
fi

# These packages start a service when they are installed, Orthanc on the very port of the node's HTTP side.
# The tests run the programs themselves, so the services stay off (undo: systemctl unmask NAME).
for service in orthanc prometheus; do
    unit=/etc/systemd/system/$service.service
    if [[ " ${missing[*]} " == *" $service "* && -d /etc/systemd/system && ! -e $unit ]]; then
        ln -s /dev/null "$unit"
    fi
done
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
