# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What a pair's records cost: as its status says, and as the kernel counts it.

# unreclaimable: bytes of the kernel's slabs that stay.
unreclaimable()
{
	awk '$1 == "SUnreclaim:" { print $2 * 1024 }' /proc/meminfo
}

free_pages()
{
	awk '$1 == "MemFree:" { print $2 * 1024 }' /proc/meminfo
}

# memory_rows WHAT SIDE UNITS RW BS COUNT: figures per unit (a MiB, a write). The
# held pages' own memory is in none of them: they are no slab.
memory_rows()
{
	local what=$1 side=$2 units=$3 slab leaves after

	msg big checkpoint
	sleep 25	# and pages are given back
	slab=$(unreclaimable)
	io_quiet "/dev/mapper/big-$side" "$4" "$5" "$6" --norandommap
	leaves=$(st big leaf_bytes)
	after=$(unreclaimable)
	figure_row ours "$what-leaf-bytes" "$((leaves / units))" bytes side="$side"
	figure_row ours "$what-slab-bytes" "$(((after - slab) / units))" bytes side="$side"
	msg big checkpoint
	sleep 25
	figure_row ours "$what-left-leaf-bytes" "$(st big leaf_bytes)" bytes side="$side"
	figure_row ours "$what-left-slab-bytes" \
		"$((($(unreclaimable) - slab) / units))" bytes side="$side"
}

topic_memory()
{
	local mib=2048 writes=6000

	big_pair big 1048576 hold_mib 64 || bail "no large pair"
	memory_rows whole-mib view "$mib" write 1m "$mib"
	memory_rows random-write view "$writes" randwrite 4k "$writes"
	memory_rows random-write origin "$writes" randwrite 4k "$writes"
	big_gone big
}
