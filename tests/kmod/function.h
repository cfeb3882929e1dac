/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The function of amdgpu that a helper module gets in the way of: its parameter `function`.
 */
#ifndef RMCP_TEST_FUNCTION_H
#define RMCP_TEST_FUNCTION_H

#include "target.h"

static char *function = TARGET;
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "function of amdgpu to act on (default " TARGET ")");

/* As the kernel looks it up. Called by init functions only, one after the other. */
static inline const char *function_symbol(void)
{
	static char symbol[KSYM_NAME_LEN];

	snprintf(symbol, sizeof(symbol), "amdgpu:%s", function);
	return symbol;
}

/* A count that a scenario reads: `calls`. Assembly may count too. */
static atomic64_t calls __used;

static int get_calls(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lld\n", atomic64_read(&calls));
}
module_param_call(calls, NULL, get_calls, NULL, 0444);
MODULE_PARM_DESC(calls, "calls of the function seen since loading (read only)");

#endif
