/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of secret.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secret.h"

#define KEY "0123456789abcdeffedcba9876543210"

struct row {
    const char *type; /* NULL: a message */
    const char *text;
    const char *shown; /* NULL: as it is */
};

static const struct row rows[] = {
    {"crypt", "aes-xts-plain64 " KEY " 0 8:16 0", "aes-xts-plain64 <hidden> 0 8:16 0"},
    {"crypt", "aes " KEY, "aes <hidden>"},
    {"crypt", "aes x", "aes <hidden>"},
    {"crypt", "aes " KEY " 0 8:16 0 1 allow_discards", "aes <hidden> 0 8:16 0 1 allow_discards"},
    {"crypt", "aes 0000 0 8:16 0", "aes <hidden> 0 8:16 0"},
    {"crypt", "", NULL},
    {"crypt", "   ", NULL},
    {"crypt", "aes", NULL},
    {"crypt", KEY, NULL}, /* a cipher of that name */
    {"crypt", "aes ", NULL},
    {"crypt", "cipher_null-ecb - 0 8:16 0", NULL},
    {"crypt", "aes :32:logon:name 0 8:16 0", NULL},
    {"crypt", "aes :32:logon:a\\ name 0 8:16 0", NULL},
    {"crypt", "aes :32:logon:a name 0 8:16 0", NULL}, /* as the kernel shows that one */
    {"crypt", "aes \\:32:logon:name 0 8:16 0", NULL},
    {"crypt", "aes \\- 0 8:16 0", NULL},
    {"crypt", "aes -" KEY " 0 8:16 0", "aes <hidden> 0 8:16 0"},
    /* Blanks stay as they are; a backslash makes one a part of the word. */
    {"crypt", "  aes\t\t" KEY "   0 8:16 0 ", "  aes\t\t<hidden>   0 8:16 0 "},
    {"crypt", "aes\v" KEY "\f0", "aes\v<hidden>\f0"},
    {"crypt",
     "aes\xa0" KEY "\xa0"
     "0",
     "aes\xa0<hidden>\xa0"
     "0"},
    {"crypt", "a\\ es 01\\23\\ 45 0", "a\\ es <hidden> 0"},
    {"crypt", "aes 0123\\", "aes <hidden>"},
    {"crypt", "\\\\ " KEY, "\\\\ <hidden>"},
    /* As the kernel shows a cipher with a blank: it takes what IV generators make no use of. */
    {"crypt", "aes-cbc-plain:x\\ y " KEY " 0 8:16 0", "aes-cbc-plain:x\\ y <hidden> 0 8:16 0"},
    {"crypt", "aes-cbc-plain:x y " KEY " 0 8:16 0", "aes-cbc-plain:x <hidden> <hidden> 0 8:16 0"},
    {"crypt", "cipher_null-ecb - 999999999999999 8:16 999999999999999 1 sector_size:4096", NULL},
    {"crypt", "cipher_null-ecb - 0 /dev/0123456789abcdef 0", NULL},
    {"default-key", "aes-xts-plain64 " KEY " 0 8:16 0", "aes-xts-plain64 <hidden> 0 8:16 0"},
    {"inlinecrypt", "aes-xts-plain64 " KEY " 0 8:16 0", "aes-xts-plain64 <hidden> 0 8:16 0"},
    {"integrity", "8:16 0 32 D 1 internal_hash:hmac(sha256):" KEY,
     "8:16 0 32 D 1 internal_hash:hmac(sha256):<hidden>"},
    {"integrity",
     "8:16 0 32 J 4 internal_hash:hmac(sha256):" KEY " journal_crypt:cbc(aes):" KEY
     " block_size:512 journal_mac:hmac(sha1):aa",
     "8:16 0 32 J 4 internal_hash:hmac(sha256):<hidden> journal_crypt:cbc(aes):<hidden>"
     " block_size:512 journal_mac:hmac(sha1):<hidden>"},
    {"integrity", "8:16 0 4 J 1 internal_hash:crc32c", NULL},
    {"integrity", "8:16 0 4 J 1 internal_hash:crc32c:", NULL},
    {"integrity", "8:16 0 4 J 1 internal_hash:", NULL},
    {"integrity", "8:16 0 4 J 1 block_size:512:" KEY, NULL},
    {"integrity", "internal_hash:a:b:c", "internal_hash:a:<hidden>"},
    {"integrity", "Internal\\_Hash:a:b", "Internal\\_Hash:a:<hidden>"},
    {"integrity", "internal_hash:a\\:b", "internal_hash:a\\:<hidden>"},
    {"integrity", "0 0 12345 -", NULL}, /* its status */
    {"integrity", "", NULL},
    /* What is another type is another form; that of verity is public. */
    {"CRYPT", "aes " KEY, NULL},
    {"Integrity", "internal_hash:a:" KEY, NULL},
    {"crypt2", "aes " KEY, NULL},
    {"", "aes " KEY, NULL},
    {"linear", "8:16 " KEY, NULL},
    {"verity",
     "1 8:16 8:17 4096 4096 256 1 sha256 " KEY " " KEY " 2 root_hash_sig_key_desc dm-verity:x",
     NULL},
    {NULL, "key set " KEY, "key set <hidden>"},
    {NULL, "KEY Set " KEY, "KEY Set <hidden>"},
    {NULL, "  key\tset  " KEY " ", "  key\tset  <hidden> "},
    {NULL, "k\\ey set " KEY, "k\\ey set <hidden>"},
    {NULL, "key set " KEY " " KEY, "key set <hidden> <hidden>"},
    {NULL, "key set :32:logon:a\\ name", NULL},
    {NULL, "key set :32:logon:a name", NULL},
    {NULL, "key set -", NULL},
    {NULL, "key set", NULL},
    {NULL, "key wipe", NULL},
    {NULL, "key", NULL},
    {NULL, "key get " KEY, NULL},
    {NULL, "set key " KEY, NULL},
    {NULL, "x set " KEY, NULL},
    {NULL, "keys set " KEY, NULL},
    {NULL, "@stats_create - /1 key set", NULL},
    {NULL, "", NULL},
};

static size_t hide(const struct row *row, char *to, size_t room, bool *ret_hidden)
{
    return row->type ? secret_hide_line(row->type, row->text, to, room, ret_hidden)
                     : secret_hide_message(row->text, to, room, ret_hidden);
}

/* Whole, and cut at each length. */
static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *expected = rows[i].shown ? rows[i].shown : rows[i].text;
        bool hidden = !rows[i].shown;
        assert_int_equal(hide(&rows[i], NULL, 0, &hidden), strlen(expected));
        assert_int_equal(hidden, rows[i].shown != NULL);
        for (size_t room = 1; room <= strlen(expected) + 2; room++) {
            char *to = malloc(room); /* of just this size, for the sanitizer */
            assert_non_null(to);
            assert_int_equal(hide(&rows[i], to, room, &hidden), strlen(expected));
            size_t length = strlen(expected) < room ? strlen(expected) : room - 1;
            assert_memory_equal(to, expected, length);
            assert_int_equal(to[length], '\0');
            free(to);
        }
    }
}

/* The marker would be no key there, and so it is no row: the kernel takes it for no number. */
static void test_key_behind_what_is_none(void **state)
{
    char to[64];
    bool hidden;

    (void)state;
    (void)secret_hide_line("crypt", "aes-cbc-plain:x - " KEY " 0 8:16 0", to, sizeof(to), &hidden);
    assert_true(hidden);
    assert_string_equal(to, "aes-cbc-plain:x - <hidden> 0 8:16 0");
}

static void test_very_long_key(void **state)
{
    const size_t length = 1 << 20;
    char *line = malloc(length + 32);
    char to[64];
    bool hidden;

    (void)state;
    assert_non_null(line);
    char *end = stpcpy(line, "aes ");
    memset(end, 'a', length);
    (void)strcpy(end + length, " 0 8:16 0");
    assert_int_equal(secret_hide_line("crypt", line, to, sizeof(to), &hidden), 21);
    assert_true(hidden);
    assert_string_equal(to, "aes <hidden> 0 8:16 0");
    free(line);
}

static void test_wiped(void **state)
{
    (void)state;
    assert_true(secret_is_wiped("crypt", "aes-xts-plain64 0000000000000000 0 8:16 0"));
    assert_true(secret_is_wiped("crypt", "aes 0"));
    assert_false(secret_is_wiped("crypt", "aes-xts-plain64 0000000000000001 0 8:16 0"));
    assert_false(secret_is_wiped("crypt", "cipher_null-ecb - 0 8:16 0"));
    assert_false(secret_is_wiped("crypt", "aes :32:logon:0 0 8:16 0"));
    assert_false(secret_is_wiped("crypt", ""));
    assert_false(secret_is_wiped("inlinecrypt", "aes 0000 0 8:16 0")); /* cannot be */
    assert_false(secret_is_wiped("linear", "8:16 00"));
}

static void test_what_may_hold_one(void **state)
{
    (void)state;
    assert_true(secret_in_type("crypt"));
    assert_true(secret_in_type("integrity"));
    assert_true(secret_in_type("default-key"));
    assert_true(secret_in_type("inlinecrypt"));
    assert_false(secret_in_type("CRYPT"));
    assert_false(secret_in_type("verity"));
    assert_false(secret_in_type(""));
    assert_true(secret_in_message("key set " KEY));
    assert_true(secret_in_message(" \tKEY wipe"));
    assert_true(secret_in_message("\\key"));
    assert_false(secret_in_message("keyset " KEY));
    assert_false(secret_in_message(""));
    assert_false(secret_in_message("@stats_list key"));
}

/* What comes back from a read without keys, and what only looks like it. */
static void test_marker_comes_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        const char *shown = row->shown ? row->shown : row->text;
        if (row->type) {
            assert_false(secret_is_hidden_line(row->type, row->text));
            assert_int_equal(secret_is_hidden_line(row->type, shown), row->shown != NULL);
        } else {
            assert_false(secret_is_hidden_message(row->text));
            assert_int_equal(secret_is_hidden_message(shown), row->shown != NULL);
        }
    }
    assert_true(secret_is_hidden_line("crypt", "aes <\\hidden> 0 8:16 0"));
    assert_false(secret_is_hidden_line("crypt", "aes " KEY " 0 <hidden> 0"));
    assert_false(secret_is_hidden_line("crypt", "<hidden> " KEY " 0 8:16 0"));
    assert_false(secret_is_hidden_line("linear", "/dev/x <hidden>"));
    assert_false(secret_is_hidden_line("crypt", "aes <hidden>00 0 8:16 0"));
    assert_true(secret_is_hidden_line("integrity", "8:16 0 32 J 2 internal_hash:a:" KEY
                                                   " journal_mac:b:<hidden>"));
    assert_false(secret_is_hidden_message("<hidden>"));
}

/* --- in the kernel's words --- */

static const struct {
    const char *type, *params;
} lines[] = {
    {"linear", "8:16 " KEY},
    {"crypt", "aes 00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0 0 8:16 0"},
    {"integrity", "8:16 0 4 J 2 internal_hash:a:C0FFEE journal_crypt:b:dead\\beef" KEY},
};

static void assert_hides(const char *text, const char *expected)
{
    char buffer[256];

    (void)snprintf(buffer, sizeof(buffer), "%s", text);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        secret_hide_in(buffer, sizeof(buffer), lines[i].type, lines[i].params);
    }
    assert_string_equal(buffer, expected);
}

static void test_in_texts(void **state)
{
    (void)state;
    assert_hides("", "");
    assert_hides("device-mapper: table: 254:3: crypt: Device lookup failed (-ENXIO)",
                 "device-mapper: table: 254:3: crypt: Device lookup failed (-ENXIO)");
    assert_hides("key 00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0 is bad",
                 "key <hidden> is bad");
    /* halves, in upper case too, with something around them, or from its middle */
    assert_hides("00112233445566778899aabbccddeeff", "<hidden>");
    assert_hides("a '0F1E2D3C4B5A69788796A5B4C3D2E1F0'", "a <hidden>");
    assert_hides("key=00112233445566778899aabbccddeeff...", "<hidden>");
    assert_hides("ccddeeff0f1e2d3c", "<hidden>");
    assert_hides("ccddeeff0f1e2d3", "ccddeeff0f1e2d3");
    /* short ones where they stand alone, in all letters */
    assert_hides("a c0ffee b", "a <hidden> b");
    assert_hides("journal_mac:(C0FFEE), b", "<hidden> b");
    assert_hides("a c0ffee0 0c0ffee", "a c0ffee0 0c0ffee");
    /* with the kernel's backslashes taken out, and not of a line that holds none */
    assert_hides("deadbeef01234567", "<hidden>");
    assert_hides("several\t" KEY "\n" KEY " of them", "several\t<hidden>\n<hidden> of them");
}

/* A marker that is longer than what it stands for stays within the buffer. */
static void test_in_texts_that_are_full(void **state)
{
    static const char line[] = "aes ab 0 8:16 0";
    char buffer[12] = "ab x ab y";

    (void)state;
    secret_hide_in(buffer, sizeof(buffer), "crypt", line);
    assert_string_equal(buffer, "<hidden> x ");
    (void)strcpy(buffer, "1234567 ab");
    secret_hide_in(buffer, sizeof(buffer), "crypt", line);
    assert_string_equal(buffer, "1234567 <hi");
    (void)strcpy(buffer, "xx");
    secret_hide_in(buffer, 3, "crypt", line);
    assert_string_equal(buffer, "xx");
    (void)strcpy(buffer, "ab");
    secret_hide_in(buffer, 3, "crypt", line);
    assert_string_equal(buffer, "<h");
}

static void test_message_in_texts(void **state)
{
    char buffer[128] = "crypt: cannot set " KEY " now";

    (void)state;
    secret_hide_message_in(buffer, sizeof(buffer), "key set " KEY);
    assert_string_equal(buffer, "crypt: cannot set <hidden> now");
    (void)strcpy(buffer, KEY);
    secret_hide_message_in(buffer, sizeof(buffer), "create_thin " KEY);
    assert_string_equal(buffer, KEY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_key_behind_what_is_none),
        cmocka_unit_test(test_very_long_key),
        cmocka_unit_test(test_wiped),
        cmocka_unit_test(test_what_may_hold_one),
        cmocka_unit_test(test_marker_comes_back),
        cmocka_unit_test(test_in_texts),
        cmocka_unit_test(test_in_texts_that_are_full),
        cmocka_unit_test(test_message_in_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
