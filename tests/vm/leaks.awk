# SPDX-License-Identifier: GPL-2.0-only
#
# Reads what kmemleak says. A leak that is the kernel's own by its backtrace is
# counted and told in one line; any other is printed, 60 lines at most. The module
# is gone by now, so its frames, if any, are addresses without a name.

BEGIN {
	# Each is a name that kobject_init_and_add was given, and could not add.
	name = "kstrdup_const kvasprintf_const kobject_set_name_vargs kobject_init_and_add "
	cause["dm core's dm_sysfs_init"] = name "dm_sysfs_init "
	# A cache's name is copied for this: it is nobody else's whoever asks.
	cause["sysfs_slab_add"] = name "sysfs_slab_add "
	any_caller["sysfs_slab_add"] = 1
}

# What the leak that has been read to its end is.
function tell(	what)
{
	for (what in cause)
		if (index(frames, cause[what]) == 1 && (any_caller[what] || !unnamed)) {
			known[what]++
			leak = ""
		}
	if (leak)
		unknown = unknown leak
	leak = frames = ""
	unnamed = 0
}

/^unreferenced object/ { tell() }

{ leak = leak $0 "\n" }

# Allocators come first; kmemleak is not asked about them.
/^ *\[<[0-9a-f]+>\] / {
	if ($2 ~ /^0x/ || $0 ~ /\[dm_repl/ || $0 ~ /\[dm_fault_nth/)
		unnamed = 1
	sub(/\+.*/, "", $2)
	if (frames || $2 !~ /^(__)?(kmalloc|kmem_cache_alloc)(_|$)/)
		frames = frames $2 " "
}

END {
	tell()
	n = split(unknown, lines, "\n")
	for (i = 1; i < n && i <= 60; i++)
		print lines[i]
	for (what in known)
		printf "init: a known leak of the kernel's (%s): %d\n", what, known[what]
}
