# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Two processors: view and origin at once, against two dm-linear devices. In real
# time; so each round has both, one after the other.

# together DEVICE RW DEVICE RW: requests a second of both.
together()
{
	local words

	words=(--ioengine=libaio --direct=1 --thread --bs=4k --iodepth=16
		--number_ios="$COUNT" --randseed="$SEED_IO")
	fio --output-format=json --output=/tmp/fio.json \
		--name=one --filename="$1" --rw="$2" "${words[@]}" \
		--name=two --filename="$3" --rw="$4" "${words[@]}" ||
		bail "fio on $1 and $3"
	awk '$1 == "\"iops\"" { sum += $3 } END { print sum }' /tmp/fio.json
}

# mix NAME VIEW_RW ORIGIN_RW [prepare]: seven rounds; with a word more, of a new
# epoch each.
mix()
{
	local ratios=() ours linear

	for _ in 1 2 3 4 5 6 7; do
		[ -z "${4:-}" ] || msg p checkpoint
		ours=$(together "$VIEW" "$2" "$ORIGIN" "$3")
		linear=$(together /dev/mapper/one "$2" /dev/mapper/two "$3")
		ratios+=("$(awk "BEGIN { printf \"%.3f\", $ours / $linear }")")
	done
	mapfile -t ratios < <(printf '%s\n' "${ratios[@]}" | sort -n)
	figure_row ours two-processors "${ratios[3]}" ratio mix="$1" \
		low="${ratios[0]}" high="${ratios[6]}"
}

# The linear devices lie on active and on the origin's own disk.
topic_smp()
{
	our_pair hold_mib "$SIZE"
	linear_disk one "${DISKS[active]}" "$(sectors "${DISKS[active]}")"
	linear_disk two "${DISKS[secondary]}" "$(sectors "${DISKS[secondary]}")"
	mix "reads and rewrites" randread randwrite
	mix "rewrites of both" randwrite randwrite
	mix "reads and first writes" randread randwrite new
	dmsetup remove one
	dmsetup remove two
	unpair p
}
