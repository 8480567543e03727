#!/usr/bin/env bash
# Set this machine up for a role: "run" (demo, agent, rack) or "dev" (tests and benchmarks as well).
# Installs the Debian packages that are missing (root or sudo), then .venv with the locked, hash-checked requirements.
set -euo pipefail
cd "$(dirname "$0")/.."
role=${1:-run}

# program:package
programs=(mosquitto:mosquitto ffmpeg:ffmpeg ffprobe:ffmpeg ip:iproute2 ptp4l:linuxptp)
optional=()
if [ "$role" = dev ]; then
  programs+=(gcc:gcc tshark:tshark mosquitto_sub:mosquitto-clients gst-launch-1.0:gstreamer1.0-tools keepalived:keepalived)
  # the virtual node: emulation, the guest's packages, its device tree and its kernel modules
  programs+=(qemu-system-aarch64:qemu-system-arm qemu-img:qemu-utils mmdebstrap:mmdebstrap mke2fs:e2fsprogs
    dtc:device-tree-compiler depmod:kmod xz:xz-utils make:make)
  if [ "$(uname -m)" != aarch64 ]; then
    programs+=(arch-test:arch-test qemu-aarch64-static:qemu-user-static update-binfmts:binfmt-support aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu)
  fi
  optional+=(chromium:chromium) # a snap on Ubuntu: the page's tests skip there and say so
fi

PATH="$PATH:/usr/sbin:/sbin"
missing=()
for pair in "${programs[@]}" "${optional[@]}"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
[ "$role" = run ] || [ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
if [ "$role" = dev ] && [ "$(uname -m)" != aarch64 ] && [ ! -e /usr/aarch64-linux-gnu/include/stdio.h ]; then
  missing+=(libc6-dev-arm64-cross)
fi
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ "$role" = dev ] && ! gst-inspect-1.0 shmsink >/dev/null 2>&1; then missing+=(gstreamer1.0-plugins-bad); fi

if [ ${#missing[@]} -gt 0 ]; then
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      as_root=(sudo)
    else
      echo "touchline: these packages are missing and this user may not install them: ${missing[*]}" >&2
      echo "      fix: sudo apt-get install ${missing[*]}" >&2
      exit 5
    fi
  fi
  echo "installing with apt: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq
  for package in "${missing[@]}"; do
    if ! "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>.setup-apt.log; then
      if [[ " ${optional[*]} " == *":$package "* ]]; then
        echo "  $package cannot be had here; what needs it is skipped and says so"
      else
        cat .setup-apt.log >&2
        exit 5
      fi
    fi
  done
  rm -f .setup-apt.log
  # Debian starts a broker of its own on 1883; ours run on ports they choose, so theirs is left as it is.
fi

lock=requirements/$role.txt
mark=.venv/.ready-$role-$(cat "$lock" pyproject.toml | sha256sum | cut -c1-16)
if [ ! -e "$mark" ]; then
  echo "installing the locked Python requirements ($lock, $(grep -c '==' "$lock") pins) into .venv"
  [ -x .venv/bin/python ] || python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
  rm -f .venv/.ready-"$role"-*
  touch "$mark"
fi
