# SPDX-License-Identifier: MIT OR Apache-2.0
# `make` builds rmcp.ko with the headers in KDIR; `make demo`, `make check` and `make fmt` hand over to
# `cargo xtask`, which sets up everything they need. How the module is built stands in Kbuild.

KDIR ?= /lib/modules/$(shell uname -r)/build

# Which kernel demo and check use; a target's name, for check also `all`. See `cargo xtask --help`.
export KERNEL

.DEFAULT_GOAL := modules

.PHONY: modules modules_install clean dkms dkms-tree demo check check-install check-workloads bench fuzz map fmt tidy help

modules modules_install:
	@test -e $(KDIR)/Makefile || { \
		echo "There are no kernel headers in $(KDIR); install them, or name others with KDIR=…," >&2; \
		echo "or let \`cargo xtask module\` set up a Debian kernel and build for that." >&2; exit 1; }
	@test -e $(KDIR)/rust/libkernel.rmeta || { \
		echo "The kernel headers in $(KDIR) lack Rust metadata (rust/libkernel.rmeta), as Debian's do;" >&2; \
		echo "\`cargo xtask kernel\` rebuilds it and prints a folder that can be given as KDIR=…" >&2; exit 1; }
	$(MAKE) -C $(KDIR) M=$(CURDIR) $@

clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) $@

# What DKMS needs of the checkout. Both the Debian package and `make dkms` take it from here.
VERSION := $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
DKMS_TREE = $(DESTDIR)/usr/src/rmcp-$(VERSION)
DKMS_FILES := Kbuild dkms.conf rmcp.rs $(shell find src -name '*.rs' ! -name '*_generated.rs' -o -name '*.h')

dkms-tree:
	@for file in $(DKMS_FILES); do install -D -p -m 644 $$file $(DKMS_TREE)/$$file || exit 1; done
	@for file in dkms/added dkms/build dkms/sweep kernel-rust-metadata/kernel-rust-metadata; do \
		install -D -p -m 755 $$file $(DKMS_TREE)/$$file || exit 1; done

dkms: dkms-tree
	dkms install rmcp/$(VERSION)

demo check bench fuzz map fmt tidy:
	@env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL sh xtask/bootstrap.sh $@ $(ARGS)

# Needs what `make check` sets up.
check-install:
	@env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL cargo test --package install-tests -- --ignored $(ARGS)

check-workloads:
	@env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL sh xtask/bootstrap.sh workloads $(ARGS)

help:
	@echo "make              build rmcp.ko for KDIR=$(KDIR)"
	@echo "make dkms         give the source to DKMS, which builds it for this kernel and for later ones (as root)"
	@echo "make demo         set up all that is needed and show the main job in a VM"
	@echo "make check        set up all that is needed and run every test (KERNEL=<target>|all)"
	@echo "make check-install  beyond it: kernels that apt installs, upgrades and removes, and autopkgtest (20 minutes, 1 GB of downloads)"
	@echo "make check-workloads  of it, only rmcpctl's workloads, with Debian's PyTorch on the CPU"
	@echo "make bench        count the instructions that rmcp costs and compare them with stock"
	@echo "make map          draw an address space before and after a policy (ARGS='--out FILE.svg')"
	@echo "make fuzz         fuzz what a guest controls of the emulated GPU (ARGS='--seconds N')"
	@echo "make fmt          format all Rust code"
	@echo "make tidy         check the house rules"
	@echo "cargo xtask --help explains the rest; ARGS=… is handed over to it"
