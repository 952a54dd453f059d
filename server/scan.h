/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan.h - where does one JSON text (RFC 8259) end and the next begin?
 *
 * A scanner that is fed bytes as they come, each once, and stops behind each
 * document. It follows strings, escapes and brackets only: whether a document is
 * valid is the parser's to say. It holds the limits on size, depth and number of
 * values, so that nothing is parsed that passes them.
 */
#ifndef DMRPC_SCAN_H
#define DMRPC_SCAN_H

#include <stdbool.h>
#include <stddef.h>

struct scan_limits {
    size_t bytes, depth, values;
};

enum scan_state { SCAN_BETWEEN, SCAN_CONTAINER, SCAN_STRING, SCAN_SCALAR };

struct scan {
    enum scan_state state;
    bool in_string, escaped; /* inside of a container's string */
    bool opened;             /* the byte before, blanks aside, opened a container */
    size_t bytes, depth, values;
};

enum scan_result {
    SCAN_MORE,     /* all was taken; no document ended in it */
    SCAN_DOCUMENT, /* a document ends behind what was taken */
    SCAN_GARBAGE,  /* what follows cannot begin a JSON text */
    SCAN_TOO_LONG, /* a limit was passed, */
    SCAN_TOO_DEEP, /* inside of the document */
    SCAN_TOO_MANY,
};

/*
 * Takes bytes up to the end of the first document, if it ends in them. *ret_used
 * is how many were taken; *ret_blank how many of those, at the front, lie before
 * the document. A zeroed struct scan is at a beginning; after SCAN_DOCUMENT it is again.
 */
enum scan_result scan_feed(struct scan *scan, const struct scan_limits *limits, const char *bytes,
                           size_t length, size_t *ret_used, size_t *ret_blank);

/* No more comes: was the scanner between documents, or does what it has end one? */
enum scan_result scan_end(struct scan *scan);

#endif
