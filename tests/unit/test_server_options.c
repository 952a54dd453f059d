/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of options.c. */
#include "server_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options.h"
#include "server_said.h"

static char file[64];

static int setup(void **state)
{
    (void)state;
    (void)strcpy(file, "/tmp/dmrpc-options-XXXXXX");
    int fd = mkstemp(file);
    (void)close(fd);
    return fd < 0;
}

static int teardown(void **state)
{
    (void)state;
    return unlink(file);
}

static void write_file(const char *text)
{
    FILE *stream = fopen(file, "w");

    assert_non_null(stream);
    assert_int_equal(fputs(text, stream) >= 0, 1);
    assert_int_equal(fclose(stream), 0);
}

struct read {
    struct options options;
    enum options_result result;
    const char *said;
};

/* `arguments` are parted by blanks; "@" stands for the file. */
static struct read read_options(const char *arguments)
{
    static char words[512];
    static char name[] = "dmrpcd";
    char *argv[32] = {name};
    int argc = 1;
    struct read read;

    (void)strcpy(words, arguments);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) {
        argv[argc++] = strcmp(word, "@") == 0 ? file : word;
    }
    said_start();
    read.result = options_read(argc, argv, &read.options);
    read.said = said_end();
    return read;
}

static uint64_t limit_of(const struct options *options, const struct field *field)
{
    const void *at = (const char *)&options->limits + field->offset;
    return field->kind == FIELD_U32 ? *(const uint32_t *)at : *(const uint64_t *)at;
}

static void test_defaults(void **state)
{
    struct read read = read_options("");

    (void)state;
    assert_int_equal(read.result, OPTIONS_RUN);
    assert_string_equal(read.options.socket, "/run/dmrpc/dmrpcd.sock");
    assert_null(read.options.group);
    assert_null(read.options.config);
    assert_false(read.options.simulate);
    for (size_t i = 0; i < type_limits.count; i++) {
        assert_int_equal(limit_of(&read.options, &type_limits.fields[i]),
                         type_limits.fields[i].preset);
    }
    options_done(&read.options);
}

static void test_fixed(void **state)
{
    struct read read = read_options("--socket /x --group=disk --simulate");

    (void)state;
    assert_int_equal(read.result, OPTIONS_RUN);
    assert_string_equal(read.options.socket, "/x");
    assert_string_equal(read.options.group, "disk");
    assert_true(read.options.simulate);
    options_done(&read.options);
}

/* The option of a limit: its name with dashes. */
static void option_of(const struct field *field, uint64_t value, char *ret_text, size_t size)
{
    (void)snprintf(ret_text, size, "--%s %" PRIu64, field->name, value);
    for (char *c = ret_text + 2; *c && *c != ' '; c++) {
        *c = *c == '_' ? '-' : *c;
    }
}

static void test_limits(void **state)
{
    (void)state;
    for (size_t i = 0; i < type_limits.count; i++) {
        const struct field *field = &type_limits.fields[i];
        const uint64_t good[] = {field->min, field->max, field->preset};
        const uint64_t bad[] = {field->min - 1, field->max + 1, UINT64_MAX};
        char text[80];

        for (size_t j = 0; j < 3; j++) {
            option_of(field, good[j], text, sizeof(text));
            struct read read = read_options(text);
            assert_int_equal(read.result, OPTIONS_RUN);
            for (size_t k = 0; k < type_limits.count; k++) {
                const struct field *other = &type_limits.fields[k];
                assert_int_equal(limit_of(&read.options, other), k == i ? good[j] : other->preset);
            }
            options_done(&read.options);
            option_of(field, bad[j], text, sizeof(text));
            read = read_options(text);
            assert_int_equal(read.result, OPTIONS_USAGE);
            *strchr(text, ' ') = '\0';
            assert_non_null(strstr(read.said, text)); /* by the name it was given */
            options_done(&read.options);
        }
    }
}

static void test_bad_numbers(void **state)
{
    static const char *const texts[] = {
        "--depth=",   "--depth x",    "--depth 5x",  "--depth -5",
        "--depth +5", "--depth 0x20", "--depth 5.0", "--depth 99999999999999999999",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct read read = read_options(texts[i]);
        assert_int_equal(read.result, OPTIONS_USAGE);
        assert_non_null(strstr(read.said, "4 to 1024"));
        options_done(&read.options);
    }
}

static void test_usage(void **state)
{
    static const char *const texts[] = {
        "--nix", "-x", "--socket", "stray", "--simulate stray", "--depth", "--simulate=1"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct read read = read_options(texts[i]);
        assert_int_equal(read.result, OPTIONS_USAGE);
        assert_int_not_equal(strlen(read.said), 0);
        options_done(&read.options);
    }
}

static void test_help(void **state)
{
    struct read read = read_options("--help");

    (void)state;
    assert_int_equal(read.result, OPTIONS_EXIT);
    assert_non_null(strstr(read.said, "Usage: dmrpcd"));
    assert_non_null(strstr(read.said, "--request-bytes N (4194304)"));
    assert_non_null(strstr(read.said, "--simulate"));
    options_done(&read.options);
    read = read_options("--version");
    assert_int_equal(read.result, OPTIONS_EXIT);
    assert_memory_equal(read.said, "dmrpcd ", 7);
    assert_non_null(strstr(read.said, "api " DMRPC_API));
    options_done(&read.options);
}

static void test_file(void **state)
{
    (void)state;
    write_file("{\"socket\":\"/from/file\",\"group\":\"kvm\",\"limits\":{\"depth\":7}}");
    struct read read = read_options("--config @");
    assert_int_equal(read.result, OPTIONS_RUN);
    assert_string_equal(read.options.config, file);
    assert_string_equal(read.options.socket, "/from/file");
    assert_string_equal(read.options.group, "kvm");
    assert_int_equal(read.options.limits.depth, 7);
    assert_int_equal(read.options.limits.batch, 1000); /* what it leaves out */
    options_done(&read.options);

    write_file("{}");
    read = read_options("--config @");
    assert_int_equal(read.result, OPTIONS_RUN);
    assert_string_equal(read.options.socket, "/run/dmrpc/dmrpcd.sock");
    assert_int_equal(read.options.limits.depth, 32);
    options_done(&read.options);
}

/* The command line wins, wherever --config stands. */
static void test_precedence(void **state)
{
    static const char *const texts[] = {"--config @ --socket /line --depth 9",
                                        "--socket /line --depth 9 --config @"};

    (void)state;
    write_file(
        "{\"socket\":\"/from/file\",\"group\":\"kvm\",\"limits\":{\"depth\":7,\"batch\":3}}");
    for (size_t i = 0; i < 2; i++) {
        struct read read = read_options(texts[i]);
        assert_int_equal(read.result, OPTIONS_RUN);
        assert_string_equal(read.options.socket, "/line");
        assert_string_equal(read.options.group, "kvm");
        assert_int_equal(read.options.limits.depth, 9);
        assert_int_equal(read.options.limits.batch, 3);
        options_done(&read.options);
    }
}

struct bad {
    const char *text, *word;
};

static const struct bad bad_files[] = {
    {"", "JSON"},
    {"{", "line 1"},
    {"{\n\n\"socket\":}", "line 3"},
    {"{\"socket\":\"a\",\"socket\":\"b\"}", "JSON"},
    {"\"x\"", "JSON"},
    {"{\"nix\":1}", "\"/nix\""},
    {"{\"socket\":5}", "\"/socket\": must be a string"},
    {"{\"socket\":\"\"}", "\"/socket\": must not be empty"},
    {"{\"limits\":{\"depth\":3}}", "\"/limits/depth\": out of range: 4 to 1024"},
    {"{\"limits\":{\"nix\":3}}", "\"/limits/nix\": unknown"},
    {"{\"limits\":{\"depth\":\"7\"}}", "must be an integer"},
    {"{\"limits\":[]}", "\"/limits\": must be an object"},
};

static void test_bad_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++) {
        write_file(bad_files[i].text);
        struct read read = read_options("--config @");
        assert_int_equal(read.result, OPTIONS_FILE);
        assert_non_null(strstr(read.said, file));
        if (!strstr(read.said, bad_files[i].word)) {
            fail_msg("'%s' is not in: %s", bad_files[i].word, read.said);
        }
        options_done(&read.options);
    }
}

static void test_no_file(void **state)
{
    struct read read = read_options("--config /nonexistent/file");

    (void)state;
    assert_int_equal(read.result, OPTIONS_FILE);
    assert_non_null(strstr(read.said, "/nonexistent/file"));
    assert_non_null(strstr(read.said, "No such file"));
    options_done(&read.options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_limits),    cmocka_unit_test(test_bad_numbers),
        cmocka_unit_test(test_usage),     cmocka_unit_test(test_help),
        cmocka_unit_test(test_file),      cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_bad_files), cmocka_unit_test(test_no_file),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
