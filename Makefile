# SPDX-License-Identifier: LGPL-2.1-or-later
# A thin front to Meson. `make` builds into build/; `make demo` and `make test` first install what is
# missing. The names of all targets: make help.

BUILD ?= build
JOBS ?= 2
PYTHON ?= /usr/bin/python3
FUZZ_SECONDS ?= 60
# Namespaces and virtual machines of the tests need root.
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo -E)
CLANG_ASAN = -Db_sanitize=address,undefined -Db_lundef=false

# setup DIRECTORY COMPILER OPTIONS: a build directory, configured once
setup = [ -f $(1)/build.ninja ] || CC="$(2)" meson setup $(1) $(3)
ninja = ninja -C $(1) -j $(JOBS)

.PHONY: all build deps demo test unit e2e gcc clang asan bench fuzz soak coverage install deb clean help

all: build

build:
	@$(call setup,$(BUILD),$(CC),)
	@$(call ninja,$(BUILD))

deps:
	@scripts/deps

demo: deps
	@$(MAKE) --no-print-directory build
	@scripts/guest-kernel cache/guest/kernel
	@GODWIT_BUILD=$(abspath $(BUILD)) $(SUDO) $(PYTHON) -B scripts/demo

# The last line on standard output is the one of pytest.
test: deps
	@scripts/guest-kernel cache/guest/kernel
	@$(MAKE) --no-print-directory gcc
	@$(MAKE) --no-print-directory clang
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory asan
	@$(MAKE) --no-print-directory e2e

# The build must be without warnings, so here they are errors.
gcc:
	@$(call setup,$(BUILD),gcc,-Dwerror=true)
	@meson configure $(BUILD) | grep -qE '^ *werror +true' || meson configure $(BUILD) -Dwerror=true
	@$(call ninja,$(BUILD))

clang:
	@$(call setup,build-clang,clang,-Dwerror=true)
	@$(call ninja,build-clang)

unit:
	@meson test -C $(BUILD) --no-rebuild --print-errorlogs --num-processes $(JOBS)

# The unit tests with AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer.
asan:
	@$(call setup,build-asan,clang,$(CLANG_ASAN))
	@$(call ninja,build-asan)
	@ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	    meson test -C build-asan --no-rebuild --print-errorlogs --num-processes $(JOBS) \
	    --timeout-multiplier 3

e2e:
	@GODWIT_BUILD=$(abspath $(BUILD)) $(SUDO) $(PYTHON) -B -m pytest -q -p no:cacheprovider \
	    --timeout=300 --durations=25 --durations-min=8 tests/e2e

bench: deps
	@$(MAKE) --no-print-directory build
	@GODWIT_BUILD=$(abspath $(BUILD)) $(SUDO) $(PYTHON) -B bench/link.py
	@GODWIT_BUILD=$(abspath $(BUILD)) $(SUDO) $(PYTHON) -B bench/pass.py
	@GODWIT_BUILD=$(abspath $(BUILD)) $(SUDO) $(PYTHON) -B bench/disks.py
	@GODWIT_BUILD=$(abspath $(BUILD)) $(SUDO) $(PYTHON) -B bench/postcopy.py
	@rm -f $(BUILD)/ramcodec.json
	@GODWIT_BUILD=$(abspath $(BUILD)) $(SUDO) $(PYTHON) -B bench/ramcodec_grid.py --out $(BUILD)/ramcodec.json
	@$(PYTHON) -B bench/ramcodec_plot.py $(BUILD)/ramcodec.json --svg $(BUILD)/ramcodec.svg

# Every fuzzer for FUZZ_SECONDS, from its seeds; what it finds is left in build-fuzz/.
fuzz:
	@$(call setup,build-fuzz,clang,-Dfuzz=true $(CLANG_ASAN) -Dc_args=-fsanitize=fuzzer-no-link)
	@$(call ninja,build-fuzz)
	@set -e; cd build-fuzz/fuzz; for target in fuzz-*; do \
	    [ -x $$target ] && [ ! -d $$target ] || continue; echo "== $$target"; \
	    mkdir -p found-$$target; ./$$target found-$$target ../../fuzz/corpus-$${target#fuzz-} \
	    -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -verbosity=0; done

# The long grids: what `make test` runs a sample of.
SOAK_SCHEDULES ?= 100000
SOAK_RENEW_MIB ?= 1024
SOAK_ROUNDS ?= 4
soak: build
	@tests/model/check
	@$(BUILD)/tests/sim/sim-link --seeds 1-$(SOAK_SCHEDULES)
	@GW_RENEW_MIB=$(SOAK_RENEW_MIB) GW_COURIER=$(abspath $(BUILD))/godwit-courier \
	    $(BUILD)/tests/unit/test-courier-link -p /courier-link/renewals
	@scripts/guest-kernel cache/guest/kernel
	@GODWIT_SOAK=$(SOAK_ROUNDS) GODWIT_BUILD=$(abspath $(BUILD)) $(SUDO) $(PYTHON) -B -m pytest -q \
	    -p no:cacheprovider --timeout=1200 tests/e2e/test_verdict.py tests/e2e/test_postcopy.py \
	    tests/e2e/test_link.py tests/e2e/test_journal.py tests/e2e/test_rehearse.py tests/e2e/test_migrate.py \
	    tests/e2e/test_prediction.py tests/e2e/test_stream_record.py tests/e2e/test_disks.py tests/e2e/soak_disks.py \
	    tests/e2e/test_reconcile.py tests/e2e/test_restart.py tests/e2e/test_restart_postcopy.py \
	    tests/e2e/test_restart_disks.py tests/e2e/test_faults.py tests/e2e/test_codec.py tests/e2e/soak_crash.py tests/e2e/soak_package.py
	@GODWIT_BUILD=$(abspath $(BUILD)) $(SUDO) $(PYTHON) -B bench/converge.py

coverage:
	@scripts/deps coverage
	@scripts/coverage

install: build
	@meson install -C $(BUILD) --no-rebuild

# build-deb/godwit_VERSION_ARCH.deb
deb:
	@scripts/deps
	@JOBS=$(JOBS) scripts/deb

# The guest's kernel in cache/ stays: it is downloaded once.
clean:
	rm -rf $(BUILD) build-clang build-asan build-fuzz build-coverage build-deb

help:
	@echo "make           build into $(BUILD)/ (what it needs: make deps)"
	@echo "make deps      install what is missing on Debian 12 or 13"
	@echo "make demo      two hosts, a busy VM, a move, and one that is refused; about a minute"
	@echo "make test      everything that is tested; about 45 minutes on two cores"
	@echo "make unit      the unit tests of $(BUILD)/       make e2e   the tests with real QEMU"
	@echo "make asan      the unit tests with sanitizers  make fuzz  all fuzzers, FUZZ_SECONDS each"
	@echo "make soak      SOAK_SCHEDULES (100000) simulated schedules of the link, a renewal of its keys"
	@echo "               every MiB over SOAK_RENEW_MIB (1024) each way, all injected failures, SOAK_ROUNDS (4)"
	@echo "               of every fault in postcopy, disks of 2 GiB, and guests that write at up to 5 times"
	@echo "               the link's rate"
	@echo "make coverage  line coverage of the unit tests make bench compare with QEMU's own migration"
	@echo "make deb       a Debian package in build-deb/"
	@echo "make install   install (DESTDIR is honoured)   make clean remove the build directories"
