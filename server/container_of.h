/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container_of.h - from an embedded member to the struct that holds it.
 */
#ifndef DMRPC_CONTAINER_OF_H
#define DMRPC_CONTAINER_OF_H

#include <stddef.h>

#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
