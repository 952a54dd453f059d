/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replies.h - what the daemon may answer to bytes, judged from outside.
 *
 * It uses the scanner, which fuzz_scan looks at, and the parser; nothing else of the
 * daemon.
 */
#ifndef REPLIES_H
#define REPLIES_H

#include <stdbool.h>
#include <stddef.h>

#include "scan.h"

struct replies_limits {
    struct scan_limits scan;
    size_t batch;
};

/* How many replies a client is owed. */
struct replies_owed {
    size_t least, most;
    size_t waits; /* texts that ask for a device_wait */
};

/* `ended`: the client has stopped sending, which ends a number or shows half a text. */
struct replies_owed replies_owed(const char *sent, size_t size, bool ended,
                                 const struct replies_limits *limits);

/*
 * Checks what came: whole lines, each a reply or a batch of them, each with an id that
 * stands in what was sent, or null; and events between them. Returns how many replies there are.
 */
size_t replies_check(const char *got, size_t length, const char *sent, size_t size);

/* Is one of them that of an events_subscribe? Its connection stays open when its client has sent
 * all. */
bool replies_subscribed(const char *got, size_t length);

/* The same where the client speaks HTTP: responses, whose JSON bodies are replies. */
void replies_check_http(const char *got, size_t length, const char *sent, size_t size);

#endif
