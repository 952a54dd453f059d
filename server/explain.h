/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain.h - what the host knows about why a call failed: the kernel's own words, who holds a
 * device that is busy, and what to do about it.
 *
 * failure.h turns an errno into an error. Here the facts are looked up that the errno does not
 * hold; a hint is made of facts only, and where there are none that of failure.h stays.
 */
#ifndef DMRPC_EXPLAIN_H
#define DMRPC_EXPLAIN_H

#include "block.h"

struct call;

/* Right before the handler of a call, on the same thread. */
void explain_begin(struct call *call);

/*
 * Right after it. Where the call failed for good, its failure gets `kernel_log`, `holders` and
 * `hint`, which live as long as the call's arena; else nothing is looked at. May ask the kernel.
 */
void explain_end(struct call *call);

/* What keeps this process from device-mapper, and what to do: a sentence without its end. */
const char *explain_permission(const struct block_host *host);

#endif
