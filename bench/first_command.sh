#!/bin/sh
# The floor: what somebody would write by hand to boot the same guest and run one command in it.
# Wants KERNEL INITRD DISK SEED KEY KNOWN_HOSTS PORT TSC_KHZ in the environment; prints what the
# command prints. The guest's console goes through a pipe, which says when the guest listens.
set -eu
console=$(mktemp -u)
mkfifo -m 600 "$console"
trap 'kill -9 $vm 2>/dev/null; rm -f "$console"' EXIT

qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
  -M microvm,pic=off,pit=off,rtc=on -accel tcg,thread=multi,tb-size=64 -cpu max -m 512M -smp 1 \
  -kernel "$KERNEL" -initrd "$INITRD" \
  -append "console=ttyS0 panic=-1 quiet pci=off cryptomgr.notests noreplace-smp tsc_early_khz=$TSC_KHZ" \
  -chardev stdio,id=console,signal=off -serial chardev:console \
  -drive if=none,id=root,format=raw,file="$DISK" -device virtio-blk-device,drive=root \
  -drive if=none,id=seed,format=raw,read-only=on,file="$SEED" -device virtio-blk-device,drive=seed \
  -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$PORT-:1022" -device virtio-net-device,netdev=net \
  -device virtio-rng-device </dev/null >"$console" &
vm=$!

while read -r line; do
  case $line in *"@@ banger ready"*) break ;; esac
done <"$console"
ssh -F /dev/null -p "$PORT" -i "$KEY" -o IdentitiesOnly=yes -o BatchMode=yes -o HostKeyAlias=vm \
  -o StrictHostKeyChecking=yes -o UserKnownHostsFile="$KNOWN_HOSTS" root@127.0.0.1 "$1"
