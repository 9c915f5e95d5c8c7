#!/bin/sh
# Runs a program on an emulated processor with AVX-512 and AVX512-BF16, where none is at hand, and prints what it says:
#   BOCHS=/usr/local/bin/bochs KERNEL=vmlinuz sh tests/bochs.sh PROGRAM COMMANDS
# PROGRAM is linked statically and lies in the guest as /instructgpt, this repository's configs/ as /configs. COMMANDS are
# lines of a shell. It takes Bochs (3.0 or later, configured with --enable-x86-64 --enable-evex --with-nogui, and
# installed with its ROMs), a kernel of Linux that has its serial port built in (Debian: linux-image-cloud-amd64), and
# xorriso, isolinux, syslinux-common, busybox-static, cpio and binutils. Both runs take a quarter of an hour.
#
# Bochs takes the memory operand of vdpbf16ps to be four bytes wide, so a compressed displacement leads elsewhere, and
# `doctor` and the run in bf16 say that bits differ. In its line of cpu/decoder/ia_opcodes_evex.def OP_mVdq32 must become
# OP_mVdq (Bochs 3.0; still so in November 2026). A kernel starts on the emulated Skylake-X, but not on the later models.
set -eu
program=$1 commands=$2
cd "$(dirname "$0")/.."
share=${BXSHARE:-$(dirname "$(dirname "$(command -v "$BOCHS")")")/share/bochs}
work=$(mktemp -d)
emulator=
trap '[ -z "$emulator" ] || kill "$emulator" 2>/dev/null || true; rm -rf "$work"' EXIT

# A memory disk with the program, and a disc that boots the kernel with it.
mkdir -p "$work/root" "$work/disc/isolinux"
cp "$(command -v busybox)" "$work/root/busybox"
strip -o "$work/root/instructgpt" "$program"
cp -r configs "$work/root/configs"
cat >"$work/root/init" <<GUEST
#!/busybox sh
/busybox mkdir -p /proc /dev /bin
/busybox mount -t proc proc /proc
/busybox mount -t devtmpfs dev /dev
/busybox --install -s /bin
exec </dev/null >/dev/ttyS0 2>&1
stty -F /dev/ttyS0 -opost
echo the guest begins
$commands
echo the guest ends with \$?
sleep 1000000
GUEST
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/disc/memory.gz"
cp "$KERNEL" "$work/disc/kernel"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/disc/isolinux/"
cat >"$work/disc/isolinux/isolinux.cfg" <<BOOT
default linux
prompt 0
label linux
kernel /kernel
append initrd=/memory.gz console=ttyS0 loglevel=1 mitigations=off
BOOT
xorriso -as mkisofs -quiet -o "$work/disc.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$work/disc" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }

cat >"$work/bochsrc" <<MACHINE
display_library: nogui
megs: 2048
cpu: model=corei7_skylake_x, add_features="avx512bf16", ips=100000000, reset_on_triple_fault=0
romimage: file=$share/BIOS-bochs-latest
vgaromimage: file=$(ls "$share"/VGABIOS-lgpl-latest.bin "$share"/VGABIOS-lgpl-latest 2>/dev/null | head -n 1)
ata0-master: type=cdrom, path=$work/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial
log: $work/log
panic: action=fatal
error: action=ignore
info: action=ignore
MACHINE
"$BOCHS" -q -f "$work/bochsrc" </dev/null >"$work/said" 2>&1 &
emulator=$!
# The guest has no way to end the emulator but what it writes.
until grep -q '^the guest ends with' "$work/serial" 2>/dev/null; do
    kill -0 $emulator 2>/dev/null || { cat "$work/log" "$work/said" "$work/serial" >&2; exit 1; }
    sleep 1
done
sed -n '/^the guest begins/,/^the guest ends/{/^the guest/!p}' "$work/serial"
grep -q '^the guest ends with 0' "$work/serial"
