/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of http_request.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "http_request.h"

static const char ALLOW[] = "GET, HEAD, OPTIONS, POST";

/* A request that is served, to change one thing in. */
static struct http_request good(void)
{
    return (struct http_request){
        .method = "POST",
        .host = "localhost",
        .hosts = 1,
        .length = "10",
        .lengths = 1,
        .content_type = "application/json",
    };
}

static unsigned int judge(const struct http_request *request)
{
    struct http_verdict verdict = http_judge(request, ALLOW, 100);

    assert_true(verdict.status == 0 || verdict.status == 204 || verdict.why);
    assert_true(!verdict.why || verdict.why[strlen(verdict.why) - 1] == '\n');
    assert_int_equal(verdict.close, verdict.status == 400);
    return verdict.status;
}

static void test_good(void **state)
{
    struct http_request request = good();

    (void)state;
    assert_int_equal(judge(&request), 0);
    request.length = "100";
    assert_int_equal(judge(&request), 0);
    request.length = NULL;
    request.lengths = 0;
    request.encoding = "Chunked";
    request.encodings = 1;
    assert_int_equal(judge(&request), 0);
    request = (struct http_request){.method = "GET", .http_1_0 = true};
    assert_int_equal(judge(&request), 0);
}

#define REFUSED(want, member, value)                                                               \
    do {                                                                                           \
        struct http_request request_ = good();                                                     \
        request_.member = (value);                                                                 \
        assert_int_equal(judge(&request_), (want));                                                \
    } while (0)

static void test_ambiguous(void **state)
{
    (void)state;
    REFUSED(400, malformed, true);
    REFUSED(400, hosts, 0);
    REFUSED(400, hosts, 2);
    REFUSED(400, lengths, 2);
    REFUSED(400, encodings, 1);
    REFUSED(400, length, "");
    REFUSED(400, length, "+1");
    REFUSED(400, length, "1 ");

    struct http_request request = good();
    request.lengths = 0;
    request.length = NULL;
    request.encodings = 1;
    request.encoding = "gzip, chunked";
    assert_int_equal(judge(&request), 400);
    request.encoding = "chunked";
    request.http_1_0 = true;
    assert_int_equal(judge(&request), 400);
    request.http_1_0 = false;
    request.encodings = 2;
    assert_int_equal(judge(&request), 400);
}

static void test_who_asks(void **state)
{
    static const char *const local[] = {"",          "d",           "d:1",   "localhost:80",
                                        "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:1"};
    static const char *const others[] = {"a.b",     "a.b:1",          "127.0.0.1.a", "1.127.0.0",
                                         "[::2]",   "[::1].a",        "[::11]",      "localhost.",
                                         "127.a.0", "192.168.0.1:80", "[",           "."};

    (void)state;
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
        REFUSED(0, host, local[i]);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        REFUSED(403, host, others[i]);
    }
    REFUSED(403, from_browser, true);
}

static void test_what_is_asked(void **state)
{
    struct http_request request = good();

    (void)state;
    assert_int_equal(http_judge(&request, NULL, 100).status, 404);
    REFUSED(405, method, "DELETE");
    REFUSED(405, method, "");
    REFUSED(405, method, "OS");
    REFUSED(405, method, "post");
    REFUSED(405, method, "HEAD,");
    struct http_verdict verdict = http_judge(&request, "GET, HEAD", 100);
    assert_int_equal(verdict.status, 405);
    assert_string_equal(verdict.allow, "GET, HEAD");
    request.method = "OPTIONS";
    verdict = http_judge(&request, ALLOW, 100);
    assert_int_equal(verdict.status, 204);
    assert_string_equal(verdict.allow, ALLOW);
    REFUSED(0, method, "GET");
    REFUSED(0, method, "HEAD");
}

static void test_body(void **state)
{
    (void)state;
    REFUSED(0, content_type, "APPLICATION/JSON");
    REFUSED(0, content_type, "application/json;charset=utf-8");
    REFUSED(0, content_type, "application/x-www-form-urlencoded");
    REFUSED(415, content_type, NULL);
    REFUSED(415, content_type, "");
    REFUSED(415, content_type, "application/jso");
    REFUSED(415, content_type, "application/jsonp");
    REFUSED(415, content_type, "text/plain, application/json");
    REFUSED(413, length, "101");
    REFUSED(413, length, "99999999999999999999999");
}

/* `text` as libmicrohttpd leaves it: it ends before the last NUL, the literal's own. */
#define PLAIN(text, count) http_is_plain((text), (text) + sizeof(text) - 1, (count))

static void test_plain(void **state)
{
    (void)state;
    assert_true(PLAIN("", 0));
    assert_true(PLAIN("\0\0", 0));
    assert_true(PLAIN("Host\0 d\0\0\0\0", 1));
    assert_true(PLAIN("Host\0d\0\0A\0 \t b c\0\0\0\0", 2));
    assert_true(PLAIN("Host\0d\0A\0b\0\0", 2)); /* lines that end with a LF alone */
    assert_true(PLAIN("Host\0\0\0A\0 b\0\0\0\0", 2));
    assert_true(PLAIN("Host\0 \0\0\0\0", 1));
}

static void test_not_plain(void **state)
{
    (void)state;
    assert_false(PLAIN(" a\0\0\0\0", 0));
    assert_false(PLAIN("A\0 b\0\0 c\0\0\0\0", 1));
    assert_false(PLAIN("A\0 b\0\0\tc\0\0\0\0", 1));
    assert_false(PLAIN("A\0 b\0 c\0\0", 1));
    assert_false(PLAIN("A\0\0\0 c\0\0\0\0", 1));
    assert_false(PLAIN("A \0 b\0\0\0\0", 1));
    assert_false(PLAIN("A\t\0 b\0\0\0\0", 1));
    assert_false(PLAIN("A\0 b\0c\0\0\0\0", 1)); /* a NUL in a value looks like a line more */
    assert_false(PLAIN("A\0 b\0\0\0\0", 2));
    assert_false(PLAIN("A", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_ambiguous),
        cmocka_unit_test(test_who_asks),  cmocka_unit_test(test_what_is_asked),
        cmocka_unit_test(test_body),      cmocka_unit_test(test_plain),
        cmocka_unit_test(test_not_plain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
