/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The function that rmcp hooks, for the helper modules that hook it too or call it.
 */
#ifndef RMCP_TEST_TARGET_H
#define RMCP_TEST_TARGET_H

#include <linux/kprobes.h>
#include <linux/module.h>

#define TARGET "gmc_v10_0_get_vm_pte"
#define TARGET_SYMBOL "amdgpu:" TARGET

/* Looks a function up without touching it. What comes back is the address behind endbr64. */
static inline void *look_up(const char *symbol)
{
	struct kprobe probe = { .symbol_name = symbol, .flags = KPROBE_FLAG_DISABLED };
	int err = register_kprobe(&probe);
	void *addr;

	if (err)
		return ERR_PTR(err);
	addr = probe.addr;
	unregister_kprobe(&probe);
	return addr;
}

/* The address that may be called through a pointer: that of endbr64, where there is one. */
static inline void *callable(void *addr)
{
	return *(u32 *)(addr - 4) == 0xfa1e0ff3 ? addr - 4 : addr;
}

MODULE_LICENSE("GPL v2");
MODULE_AUTHOR("The rmcp developers");

#endif
