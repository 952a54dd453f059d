/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registers.h - what a thread has left in its registers.
 *
 * Copies and comparisons go by vector registers, of up to 64 bytes each, and leave in them what
 * they had last: parts of keys. There they stay while the thread sleeps, and are in a core.
 */
#ifndef DMRPC_REGISTERS_H
#define DMRPC_REGISTERS_H

/* Zeroes those that a call may change; for who is about to sleep. Nothing with a compiler that
 * cannot. */
void registers_clear(void);

#endif
