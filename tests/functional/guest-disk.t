#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1536 --timeout 400 --with qemu
#
# The view as a QEMU guest's disk, by the -drive line of walkthroughs.rst; libvirt's
# element beside it says the same. The guest is a boot sector: it reads the second
# sector of its disk, prints it, and writes it to the third.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/dmrepl.sh
. "$(dirname "$0")/../lib/dmrepl.sh"

walkthroughs=/repo/Documentation/walkthroughs.rst
drive=$(sed -nE 's/^ +-drive (file=.*)$/\1/p' "$walkthroughs")

# 16-bit code at 7c00, dl is the disk; its packet for the BIOS is at 7c39.
code()
{
	local bytes=(
		31 c0 8e d8 8e d0 bc 00 7c	# ds = ss = 0, sp = 7c00
		52 b4 42 be 39 7c cd 13 72 21	# read by the packet, or bad
		be 00 7e ba f8 03		# from 7e00 to the serial port:
		ac 84 c0 74 03 ee eb f8		# each byte up to a zero
		5a fe 06 41 7c b8 00 43 be 39 7c cd 13 72 04	# write one further, or bad
		b0 10 e6 f4			# end QEMU with status 33
		b0 20 e6 f4 f4			# bad: with 65
		10 00 01 00 00 7e 00 00		# the packet: 1 sector, to 0000:7e00,
		01 00 00 00 00 00 00 00		# sector 1
	)

	printf '%b' "${bytes[@]/#/\\x}"
}

# put DEVICE SECTOR: what comes in, filled up with zeroes
put()
{
	dd of="$1" bs=512 seek="$2" conv=sync oflag=direct iflag=fullblock status=none
}

# text DEVICE SECTOR: what is there, up to the first zero
text()
{
	dd if="$1" bs=512 skip="$2" count=1 iflag=direct status=none | tr -d '\0\r\n'
}

# attribute ELEMENT NAME: of libvirt's <disk>
attribute()
{
	sed -n "/<disk /,/<\\/disk>/s/.*<$1 .*\\b$2='\\([^']*\\)'.*/\\1/p" "$walkthroughs"
}

disks=()
for name in active hidden secondary; do
	null_disk "$name" 16
	disks+=("--$name" "$DISK")
done
secondary=$DISK
dmrepl create db "${disks[@]}" || bail "no pair"
origin=/dev/mapper/db-origin
{ code; head -c 510 /dev/zero; } | head -c 510 | { cat; printf '\x55\xaa'; } | put $origin 0
printf 'as of the checkpoint\r\n' | put $origin 1
dmrepl start db
printf 'what came later\r\n' | put $origin 1

QEMU_MODULE_DIR=/usr/lib/qemu timeout 300 qemu-system-x86_64 -M pc -m 64 -nodefaults -display none \
	-serial file:/tmp/serial -device isa-debug-exit,iobase=0xf4 -drive "$drive" \
	</dev/null >/tmp/qemu.out 2>&1
is $? 33 "the guest has come to its end" || diag "$(</tmp/qemu.out)"
is "$(tr -d '\r' </tmp/serial)" "as of the checkpoint" "it reads the state of the checkpoint"
is "$(text /dev/mapper/db 2)" "as of the checkpoint" "its write is on the view"
is "$(text "$secondary" 1) $(text "$secondary" 2)" "what came later " "and not on the replica"
gives 0 "failover" dmrepl failover db --yes --wait
is "$(text "$secondary" 1)/$(text "$secondary" 2)" "as of the checkpoint/as of the checkpoint" \
	"after a failover it is"
dmrepl remove db --yes

is "file=$(attribute source dev),format=$(attribute driver type),if=$(attribute target bus),cache=$(attribute driver cache),aio=$(attribute driver io)" \
	"$drive" "libvirt's element says the same"
plan_end
