/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Attaching an ftrace_ops to the chosen function, for the helper modules that do so.
 */
#ifndef RMCP_TEST_FTRACE_USER_H
#define RMCP_TEST_FTRACE_USER_H

#include <linux/ftrace.h>
#include "function.h"

/* By address: a filter by name looks at every function of the kernel, which takes long. */
static inline int set_filter(struct ftrace_ops *ops)
{
	void *addr = look_up(function_symbol());

	if (IS_ERR(addr))
		return PTR_ERR(addr);
	return ftrace_set_filter_ip(ops, (unsigned long)addr, 0, 1);
}

static inline int attach(struct ftrace_ops *ops)
{
	int err = set_filter(ops);

	if (!err)
		err = register_ftrace_function(ops);
	if (err)
		ftrace_free_filter(ops);
	return err;
}

static inline void detach(struct ftrace_ops *ops)
{
	unregister_ftrace_function(ops);
	ftrace_free_filter(ops);
}

#endif
