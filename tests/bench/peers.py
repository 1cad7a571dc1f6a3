# SPDX-License-Identifier: GPL-2.0-only
"""Peers and classes of requests in words, for tables and plots."""

# Peer, in words, its colour; in the order of tables and plots.
PEERS = {
    "raw": ("null_blk, bare", "#9a9a9a"),
    "linear": ("dm-linear", "#4d4d4d"),
    "probe": ("read, then write", "#c7b8a0"),
    "ours": ("dm-replication", "#0b62c4"),
    "snapshot-4k-N": ("dm-snapshot 4 KiB", "#f5a623"),
    "snapshot-4k-P": ("dm-snapshot 4 KiB, persistent", "#c77700"),
    "snapshot-64k-N": ("dm-snapshot 64 KiB", "#f7d154"),
    "snapshot-64k-P": ("dm-snapshot 64 KiB, persistent", "#b39b00"),
    "snapshot-merge": ("snapshot-merge", "#c77700"),
    "thin": ("dm-thin snapshot", "#3c9d4e"),
    "raid1": ("dm-raid1", "#7b4ea3"),
    "drbd": ("DRBD", "#8c6d5a"),
    "qemu-bare": ("bare disk by QEMU and NBD", "#e8a0aa"),
    "qemu": ("QEMU's filter", "#c8102e"),
}

# These have no view: what they do with a request stands for every class.
BARE = ("raw", "linear", "qemu-bare")

# What stands over a column of a table.
SHORT = {"raw": "bare", "linear": "linear", "probe": "probe", "ours": "dm-repl",
         "snapshot-4k-N": "snap 4", "snapshot-4k-P": "snap 4 P",
         "snapshot-64k-N": "snap 64", "snapshot-64k-P": "snap 64 P",
         "thin": "thin", "qemu-bare": "bare by QEMU", "qemu": "QEMU"}

# A class of requests, in words for a table, and for a plot, its lines parted by |.
CLASSES = {
    "view-read-secondary": ("view read, of what nobody has written", "view read,|unchanged"),
    "view-read-active": ("view read, of what the view has written", "view read,|own data"),
    "view-read-held": ("view read, of old data in memory", "view read,|old data|in memory"),
    "view-read-hidden": ("view read, of old data on disk", "view read,|old data|on disk"),
    "view-first-write": ("view write, first", "view write,|first"),
    "view-rewrite": ("view write, again", "view write,|again"),
    "origin-first-write": ("origin write, first", "origin write,|first"),
    "origin-rewrite": ("origin write, again", "origin write,|again"),
    "origin-first-write-literal": ("origin write, first, with hold_mib 0", ""),
    "spill": ("origin write, first, captures over the limit", ""),
    "origin-write-under-active": ("origin write, where the view has written", ""),
    "done-read": ("view read, after the failover", ""),
    "done-write": ("view write, after the failover", ""),
}


def words(peer):
    return PEERS.get(peer, (peer, "#000000"))[0]


def colour(peer):
    return PEERS.get(peer, (peer, "#000000"))[1]


def in_order(peers):
    """Those that are known first, as above."""
    known = [peer for peer in PEERS if peer in peers]
    return known + sorted(set(peers) - set(known))


def plain(what):
    """What a disk without a view does in place of a class."""
    return "read" if "read" in what else "write"


def request_row(rows, peer, what, **wanted):
    """The row of a class; for bare disks, that of its reads or writes."""
    wanted = {"kind": "io", "peer": peer, "disk": "null", **wanted}
    for name in (what, plain(what)):
        if name != what and peer not in BARE:
            continue
        for row in rows:
            if row["what"] == name and all(row.get(key) == value
                                           for key, value in wanted.items()):
                return row
    return None
