/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of HTTP requests, one after the other. It knows no sockets and no
 * libmicrohttpd.
 */
#include "http_request.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- the head --- */

static const char *line_end(const char *text, const char *end)
{
    const char *nul = memchr(text, '\0', (size_t)(end - text));
    return nul ? nul : end;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool http_is_plain(const char *text, const char *end, size_t count)
{
    size_t lines = 0;

    while (text < end && *text != '\0') {
        if (is_blank(*text)) {
            return false; /* goes on with the line before */
        }
        const char *colon = line_end(text, end);
        if (colon == end || is_blank(colon[-1])) {
            return false;
        }
        const char *value = colon + 1;
        while (value < end && is_blank(*value)) {
            value++;
        }
        text = line_end(value, end) + 1; /* behind a LF, */
        if (text < end && *text == '\0') {
            text++; /* or a CR LF */
        }
        lines++;
    }
    return lines == count;
}

/* --- who asks --- */

static bool starts_with(const char *string, const char *start)
{
    return strncasecmp(string, start, strlen(start)) == 0;
}

/*
 * A page that was lured here through a TCP forward names us by a domain. Programs
 * on this host write any word without a dot, or a loopback address.
 */
static bool is_local(const char *host)
{
    size_t length = strcspn(host, ":");

    if (host[0] == '[') {
        return starts_with(host, "[::1]") && (host[5] == '\0' || host[5] == ':');
    }
    if (!memchr(host, '.', length)) {
        return true;
    }
    return starts_with(host, "127.") && strspn(host, "0123456789.") == length;
}

/* --- the body --- */

static bool is_json(const char *type)
{
    static const char *const types[] = {"application/json", "application/x-www-form-urlencoded"};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        size_t length = strlen(types[i]);
        if (starts_with(type, types[i]) && strchr("; \t", type[length])) {
            return true; /* its end, or a parameter such as charset */
        }
    }
    return false;
}

static bool is_too_long(const struct http_request *request, uint64_t limit)
{
    return request->length && strtoull(request->length, NULL, 10) > limit;
}

/* --- the verdict --- */

/* A request of which two readers may see different ends. */
static const char *ambiguity(const struct http_request *request)
{
    if (request->malformed) {
        return "The header is malformed, or folded, which HTTP has given up.\n";
    }
    if (request->hosts > 1 || (request->hosts == 0 && !request->http_1_0)) {
        return "A request has one Host header.\n";
    }
    if (request->lengths > 1 || request->encodings > 1 ||
        (request->lengths > 0 && request->encodings > 0)) {
        return "A request has either one Content-Length or one Transfer-Encoding.\n";
    }
    if (request->encoding && (request->http_1_0 || strcasecmp(request->encoding, "chunked") != 0)) {
        return "Of the transfer encodings of HTTP/1.1 this server reads chunked.\n";
    }
    if (request->length && (request->length[0] == '\0' ||
                            request->length[strspn(request->length, "0123456789")] != '\0')) {
        return "The Content-Length is not a number.\n";
    }
    return NULL;
}

/* "GET" is in "GET, HEAD", "HEA" is not. */
static bool is_listed(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = list; at; at = strchr(at, ' ')) {
        at += *at == ' ';
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0')) {
            return length > 0;
        }
    }
    return false;
}

static struct http_verdict refuse(unsigned int status, const char *why)
{
    return (struct http_verdict){.status = status, .why = why};
}

struct http_verdict http_too_long(void)
{
    return refuse(413, "The request passes the limit of bytes; server_info tells it.\n");
}

struct http_verdict http_judge(const struct http_request *request, const char *allow,
                               uint64_t body_limit)
{
    const char *fault = ambiguity(request);

    if (fault) {
        struct http_verdict verdict = refuse(400, fault);
        verdict.close = true;
        return verdict;
    }
    if (request->from_browser) {
        return refuse(403, "Web pages are not served: there was an Origin or Sec-Fetch header.\n");
    }
    if (request->host && !is_local(request->host)) {
        return refuse(403, "The Host must be a name without a dot, or a loopback address.\n");
    }
    if (!allow) {
        return refuse(404, "There is nothing at this path. GET / says what there is.\n");
    }
    if (!is_listed(allow, request->method)) {
        struct http_verdict verdict = refuse(405, "This path does not take the method.\n");
        verdict.allow = allow;
        return verdict;
    }
    if (strcmp(request->method, "OPTIONS") == 0) {
        return (struct http_verdict){.status = 204, .allow = allow};
    }
    if (strcmp(request->method, "POST") == 0 &&
        (!request->content_type || !is_json(request->content_type))) {
        return refuse(415, "Send JSON, with Content-Type: application/json.\n");
    }
    return is_too_long(request, body_limit) ? http_too_long() : (struct http_verdict){0};
}
