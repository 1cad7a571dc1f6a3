# SPDX-License-Identifier: GPL-2.0-only
#
# What a person types. What the kernel builds is in Kbuild.
#
# KVER=  another installed kernel than the newest one (headers and image)
# T=     one test of tests/functional (or tests/world), by its name without .t
# J=     how many test machines run at a time
# N=     how many operations soak-model compares, how many inputs check-fuzz makes
# KILLS= how often check-kills kills a machine
# MIN=   how many minutes check-races and soak take
# STEP=  check-allocations fails each so-manieth allocation
# SEED=  where the random numbers of a test begin (default: a fresh one, printed)

J ?= 2
N ?= 1000000
KILLS ?= 50
MIN ?= 10
STEP ?= 1
T ?= *
helpers := $(patsubst %.c,%,$(wildcard tests/lib/*.c)) tests/powercut/powercut
tests := $(T:%=tests/functional/%.t)
# As long as half of the others: see check-valgrind.
valgrind := tests/functional/dmrepl-valgrind.t
ifeq ($(T),*)
tests := $(filter-out $(valgrind),$(wildcard $(tests)))
endif
# What must be so with a metadata device, too: nothing is held in memory then,
# so not what is about that, nor what spells table lines or counts leaks.
with_metadata := conformance failover-load faults faults-failover faults-policy \
	frozen groups model-4k model-basic model-delay model-odd qemu-defects \
	regressions stages

world_tests := $(T:%=tests/world/%.t)

# A part of check-debug that ends in the time CI has: each file of the module.
ci_tests := unit model-basic groups lifecycle faults metadata-basic primary-races requests

all: modules tools ## build the module dm-repl.ko and the tools (default)

modules: need-build ## build dm-repl.ko for kernel KVER
	kver=$$(tests/vm/kver) && \
	$(MAKE) -C $(KROOT)/lib/modules/$$kver/build M=$(CURDIR) modules

tools: need-build ## build the programs of user space
	$(MAKE) -C tools

bench-modules: modules
	kver=$$(tests/vm/kver) && \
	$(MAKE) -C $(KROOT)/lib/modules/$$kver/build M=$(CURDIR)/tests/bench/probe modules

# Static: they start sooner in an emulated machine.
tests/lib/jsonget: LDLIBS := -ljson-c -lm
$(helpers): %: %.c
	$(CC) -O2 -Wall -Wextra -Werror -static -pthread -o $@ $(filter %.c,$^) $(LDLIBS)

tests/powercut/powercut: $(wildcard tests/powercut/*.[ch])

install: all ## install the module for kernel KVER, and the tools
	kver=$$(tests/vm/kver) && \
	$(MAKE) -C $(KROOT)/lib/modules/$$kver/build M=$(CURDIR) modules_install
	$(MAKE) -C tools install

demo: all need-vm $(helpers) ## watch the main job on real files, in a virtual machine
	tests/demo/run

demo-two-hosts: all need-vm $(helpers) ## watch a primary and its standby die and come back, in two machines
	tests/demo-two-hosts/run

check: all need-vm $(helpers) ## run the tests in virtual machines (T=name runs one)
	tests/check -j $(J) $(tests)

check-valgrind: all need-vm $(helpers) ## the life of a pair, each dmrepl of it under valgrind
	tests/check $(valgrind)

check-metadata: all need-vm $(helpers) ## the tests again, each pair with a metadata device
	METADATA=1 tests/check -j $(J) $(with_metadata:%=tests/functional/%.t)

check-powercut: all need-vm $(helpers) ## cut the power at every request of two scenarios (hours)
	tests/vm/boot --mem 1024 --timeout 20000 tests/functional/metadata-powercut.t full
	tests/vm/boot --mem 1024 --timeout 20000 tests/functional/primary-powercut.t full

check-kills: all need-vm ## kill machines under load KILLS= times, and look what is left
	tests/powercut/kill $(KILLS)

check-unit: need-unit ## run the overlay's unit tests (KUnit, KASAN)
	tests/unit/run

check-debug: debug-programs ## tests in a kernel with KASAN, lockdep, kmemleak, ... (T= one of them)
	tests/debug/run -j $(J) kasan $(filter-out *,$(T))

check-kcsan: debug-programs ## tests in a kernel with KCSAN, which finds data races
	tests/debug/run -j $(J) kcsan $(filter-out *,$(T))

check-kernels: all need-vm need-kernels $(helpers) ## build for and test on 6.1, 6.12 and 7.x
	tests/kernels/run -j $(J) $(tests)

debug-programs: fault-programs need-debug

check-mutants: all need-vm $(helpers) ## show that the tests turn red for each mutant
	tests/mutants/run

soak-model: all need-vm $(helpers) ## compare N= random operations with the model
	tests/soak-model $(N)

bench-quick: bench-modules $(helpers) need-vm need-bench ## measure what has a bound, under 3 minutes; fails if one is not met
	tests/bench/run quick

bench: bench-modules $(helpers) need-vm need-bench ## measure everything beside its peers
	tests/bench/run full

fault-programs: all $(helpers) need-vm
	$(MAKE) -C tests/faults
	kver=$$(tests/vm/kver) && \
	$(MAKE) -C $(KROOT)/lib/modules/$$kver/build M=$(CURDIR)/tests/faults/nth modules

check-faults-every: fault-programs ## fail every request that a script sends to the three disks, one at a time
	tests/faults/run every

check-allocations: debug-programs ## fail each STEP=th allocation of the script, one at a time; then any in races
	tests/debug/run kasan every --allocations 1 --step $(STEP)
	tests/debug/run kasan races $(MIN) 5

check-fuzz: N = 100000
check-fuzz: fault-programs ## N= tables and messages that may be anything
	tests/faults/run fuzz $(N)

check-hostile: N = 2000
check-hostile: fault-programs ## N= metadata devices that somebody has made up
	tests/faults/run hostile $(N)

check-parsers: N = 1000000
check-parsers: need-parsers ## N= table lines and messages for the parsers in user space (libFuzzer, ASan)
	tests/faults/parsers/run $(N)

check-races: fault-programs ## everything at once for MIN= minutes, on two processors
	tests/faults/run races $(MIN)

soak: fault-programs need-parsers ## all of these at random for MIN= minutes
	tests/faults/soak $(MIN)

check-ci: debug-programs need-parsers ## a part of these and of check-debug, meant for CI
	tests/faults/run every --step 16 --seconds 300
	tests/faults/run fuzz 1000000 150
	tests/faults/parsers/run 500000
	tests/faults/run hostile 300
	tests/faults/run races 3
	tests/debug/run -j $(J) kasan $(ci_tests)

lint: need-build need-lint ## static checks: gcc W=1, sparse, checkpatch, coccicheck, ...
	tests/lint

pictures: need-pictures ## draw the pictures of the documents anew
	tests/pictures

deb: need-deb ## build the packages dm-replication-dkms and dmrepl
	tests/packages/build

check-world: all need-vm need-world $(helpers) ## file systems and load that others wrote (T= one test of tests/world)
	tests/check -j $(J) $(world_tests)

check-packages: modules need-deb need-vm ## install, upgrade and purge them; reboot with a promoted pair; Secure Boot
	tests/packages/run
	tests/packages/secure-boot

deps: ## install every Debian package that any verb needs
	tests/vm/deps

clean: ## remove what was built
	-kver=$$(tests/vm/kver) && \
	$(MAKE) -C $(KROOT)/lib/modules/$$kver/build M=$(CURDIR) clean
	-kver=$$(tests/vm/kver) && \
	$(MAKE) -C $(KROOT)/lib/modules/$$kver/build M=$(CURDIR)/tests/bench/probe clean
	-kver=$$(tests/vm/kver) && \
	$(MAKE) -C $(KROOT)/lib/modules/$$kver/build M=$(CURDIR)/tests/faults/nth clean
	$(MAKE) -C tools clean
	$(MAKE) -C tests/faults clean
	rm -f $(helpers)

help: ## list these verbs
	@echo "Verbs of this Makefile:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | \
	while IFS='|' read -r verb words; do printf '  make %-14s %s\n' "$$verb" "$$words"; done
	@sed -n 's/^# \([A-Z]*\)=  */\1=|/p' Makefile | \
	while IFS='|' read -r name words; do printf '  %-19s %s\n' "$$name" "$$words"; done

need-%:
	@tests/vm/deps $*

.PHONY: all modules bench-modules fault-programs tools install demo demo-two-hosts check \
	check-valgrind check-metadata check-powercut check-kills check-unit check-mutants \
	check-faults-every check-allocations check-fuzz check-hostile check-parsers \
	check-races check-world soak \
	check-debug check-kcsan check-kernels check-ci debug-programs \
	soak-model bench bench-quick lint pictures deb check-packages deps clean help
