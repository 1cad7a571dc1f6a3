# SPDX-License-Identifier: GPL-2.0-only
# scdoc begins a paragraph here and there where there is none; mandoc minds.
/^\.PP?$/ { held = 1; next }
held {
	if ($0 !~ /^\.(SH|SS|RE)/ && last !~ /^\.(SH|SS)/)
		print ".PP"
	held = 0
}
{ print; last = $0 }
