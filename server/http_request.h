/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_request.h - may an HTTP request be served, and if not, what is it told?
 *
 * The judgement by itself, of what http.c has gathered of a request's head: what
 * is ambiguous, what comes from a browser, what asks for something that is not
 * there. RFC 9110 and 9112.
 */
#ifndef DMRPC_HTTP_REQUEST_H
#define DMRPC_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A request's head. Strings are borrowed, NULL where the header is not there. */
struct http_request {
    const char *method;
    const char *host, *length, *encoding, *content_type, *expect;
    unsigned int hosts, lengths, encodings; /* how many of each header */
    bool malformed;                         /* a folded header, a blank before a colon, a NUL */
    bool from_browser;                      /* Origin, or a Sec-Fetch- header */
    bool http_1_0;
};

struct http_verdict {
    unsigned int status; /* 0: it is served */
    const char *why;     /* a line for people; NULL: nothing is to be said */
    const char *allow;   /* the header Allow, or NULL */
    bool close;          /* where this request ends is not sure: the connection is of no more use */
};

/* `allow` lists the methods of what is at the path, "GET, HEAD"; NULL: nothing is there. */
struct http_verdict http_judge(const struct http_request *request, const char *allow,
                               uint64_t body_limit);

/* What is told to a request whose body is past its limit. */
struct http_verdict http_too_long(void);

/*
 * Whether a header that lies in [text, end), as libmicrohttpd leaves it (a NUL for
 * each colon, CR and LF), is plainly written: `count` lines of `name: value`, none
 * of them folded, no blank before a colon.
 */
bool http_is_plain(const char *text, const char *end, size_t count);

#endif
