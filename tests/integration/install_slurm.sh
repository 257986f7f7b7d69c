#!/usr/bin/env bash
# Installs Slurm and munge for slurm_test.py, which raises a cluster of its own on this machine. None of it is
# started as a service. Nothing is done when all is there.
set -euo pipefail
packages=(slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins)
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing=1
done
[ -n "${missing-}" ] || exit 0
[ "$(id -u)" -eq 0 ] || {
  echo "install_slurm.sh: as root, run: apt-get install ${packages[*]}" >&2
  exit 2
}
# Its packages start daemons where they can; these have no configuration and are not wanted.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" >/dev/null
