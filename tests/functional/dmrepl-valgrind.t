#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1024 --timeout 3600 --with valgrind
#
# The life of a pair once more, each dmrepl of it under valgrind: no wrong access
# and nothing lost. One that finds something ends with status 99, which no
# command gives.

mv /repo/tools/dmrepl/dmrepl /repo/tools/dmrepl/dmrepl.bin
cat >/repo/tools/dmrepl/dmrepl <<'END'
#!/bin/bash
exec valgrind --quiet --error-exitcode=99 --leak-check=full --track-fds=no \
	--child-silent-after-fork=yes /repo/tools/dmrepl/dmrepl.bin "$@"
END
chmod +x /repo/tools/dmrepl/dmrepl

# shellcheck source=tests/functional/dmrepl-basic.t
. "$(dirname "$0")/dmrepl-basic.t"
