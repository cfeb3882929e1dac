// SPDX-License-Identifier: GPL-2.0
/*
 * A direct call from the function's entry, as BPF makes it. Counts the calls and goes back.
 */
#include <asm/ibt.h>
#include <asm/linkage.h>
#include <asm/nospec-branch.h>
#include "ftrace_user.h"

MODULE_DESCRIPTION("rmcp test: direct call");

void rmcp_direct_entered(void);

/* Touches no register but the flags. */
asm (
"	.pushsection .text, \"ax\", @progbits\n"
"	.balign 16\n"	/* To ftrace an odd address means a jump. */
"	.type rmcp_direct_entered, @function\n"
"	.globl rmcp_direct_entered\n"
"rmcp_direct_entered:\n"
	ASM_ENDBR
	CALL_DEPTH_ACCOUNT
"	lock incq calls(%rip)\n"
	ASM_RET
"	.size rmcp_direct_entered, . - rmcp_direct_entered\n"
"	.popsection\n"
);

static struct ftrace_ops ops;

static int __init start(void)
{
	int err = set_filter(&ops);

	if (!err)
		err = register_ftrace_direct(&ops, (unsigned long)rmcp_direct_entered);
	if (err)
		ftrace_free_filter(&ops);
	return err;
}
module_init(start);

static void __exit stop(void)
{
	unregister_ftrace_direct(&ops, (unsigned long)rmcp_direct_entered, true);
}
module_exit(stop);
