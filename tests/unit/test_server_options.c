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
    const void *at = (const char *)&options->start.limits + field->offset;
    return field->kind == FIELD_U32 ? *(const uint32_t *)at : *(const uint64_t *)at;
}

static void test_defaults(void **state)
{
    struct read read = read_options("");

    (void)state;
    assert_int_equal(read.result, OPTIONS_RUN);
    assert_string_equal(read.options.start.socket, "/run/dmrpc/dmrpcd.sock");
    assert_null(read.options.start.group);
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
    assert_string_equal(read.options.start.socket, "/x");
    assert_string_equal(read.options.start.group, "disk");
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
    assert_non_null(strstr(read.said, "--check-config FILE"));
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
    write_file("{\"socket\":\"/from/file\",\"group\":\"daemon\",\"limits\":{\"depth\":7}}");
    struct read read = read_options("--config @");
    assert_int_equal(read.result, OPTIONS_RUN);
    assert_string_equal(read.options.config, file);
    assert_string_equal(read.options.start.socket, "/from/file");
    assert_string_equal(read.options.start.group, "daemon");
    assert_int_equal(read.options.start.limits.depth, 7);
    assert_int_equal(read.options.start.limits.batch, 1000); /* what it leaves out */
    options_done(&read.options);

    write_file("{}");
    read = read_options("--config @");
    assert_int_equal(read.result, OPTIONS_RUN);
    assert_string_equal(read.options.start.socket, "/run/dmrpc/dmrpcd.sock");
    assert_int_equal(read.options.start.limits.depth, 32);
    options_done(&read.options);
}

/* The command line wins, wherever --config stands. */
static void test_precedence(void **state)
{
    static const char *const texts[] = {
        "--config @ --socket /line --depth 9", "--socket /line --depth 9 --config @",
        "--config /nonexistent/file --socket /line --depth 9 --config @"}; /* the last one counts */

    (void)state;
    write_file(
        "{\"socket\":\"/from/file\",\"group\":\"daemon\",\"limits\":{\"depth\":7,\"batch\":3}}");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct read read = read_options(texts[i]);
        assert_int_equal(read.result, OPTIONS_RUN);
        assert_string_equal(read.options.start.socket, "/line");
        assert_string_equal(read.options.start.group, "daemon");
        assert_int_equal(read.options.start.limits.depth, 9);
        assert_int_equal(read.options.start.limits.batch, 3);
        options_done(&read.options);
    }
}

/* The file is found again from wherever we are by then. */
static void test_relative_file(void **state)
{
    char folder[256];
    char relative[128];

    (void)state;
    write_file("{}");
    assert_non_null(getcwd(folder, sizeof(folder)));
    assert_int_equal(chdir("/tmp"), 0);
    (void)snprintf(relative, sizeof(relative), "--config %s", strrchr(file, '/') + 1);
    struct read read = read_options(relative);
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(read.result, OPTIONS_RUN);
    assert_string_equal(read.options.config, file);
    options_done(&read.options);
}

/* With another file in the place of the first, the command line still wins. */
static void test_settle(void **state)
{
    struct config config = {.socket = "/other", .group = "daemon"};

    (void)state;
    config_default_limits(&config.limits);
    config.limits.depth = 99;
    config.limits.batch = 98;
    write_file("{\"group\":\"disk\",\"limits\":{\"depth\":7,\"batch\":6}}");
    struct read read = read_options("--config @ --socket /line --depth 9");
    struct settings settings = options_settle(&read.options, &config);
    assert_string_equal(settings.socket, "/line");
    assert_string_equal(settings.group, "daemon");
    assert_int_equal(settings.limits.depth, 9);
    assert_int_equal(settings.limits.batch, 98);
    assert_int_equal(read.options.start.limits.batch, 6);
    config = (struct config){0};
    settings = options_settle(&read.options, &config);
    assert_null(settings.group);
    options_done(&read.options);
    read = read_options("");
    settings = options_settle(&read.options, &config);
    assert_string_equal(settings.socket, "/run/dmrpc/dmrpcd.sock");
    options_done(&read.options);
}

static void test_check(void **state)
{
    (void)state;
    write_file("{\"rules\":[{\"name\":\"a\",\"who\":[{\"any\":true}],\"what\":[\"read\"]}]}");
    struct read read = read_options("--check-config @");
    assert_int_equal(read.result, OPTIONS_EXIT);
    assert_non_null(strstr(read.said, file));
    assert_non_null(strstr(read.said, "good: 1 rule.\n"));
    assert_non_null(strstr(read.said, "No rule allows anybody to change devices."));
    options_done(&read.options);
    write_file("{}");
    read = read_options("--check-config @");
    assert_int_equal(read.result, OPTIONS_EXIT);
    assert_non_null(strstr(read.said, "good: no rules of its own"));
    options_done(&read.options);
    write_file("{\"rules\":5}");
    read = read_options("--check-config @");
    assert_int_equal(read.result, OPTIONS_FILE);
    assert_non_null(strstr(read.said, "line 1: at \"/rules\": must be an array. Mend the file."));
    options_done(&read.options);
}

struct bad {
    const char *text, *word;
};

static const struct bad bad_files[] = {
    {"", "JSON"},
    {"{", "line 1"},
    {"{\n\n\"socket\":}", "line 3"},
    {"{\"socket\":\"a\",\n\"socket\":\"b\"}", "line 2: duplicate"},
    {"\"x\"", "JSON"},
    {"[]", "must be an object"},
    {"{\"rules\":[{}]}", "\"/rules/0/name\": missing"},
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
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_bad_numbers),
        cmocka_unit_test(test_usage),         cmocka_unit_test(test_help),
        cmocka_unit_test(test_file),          cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_bad_files),     cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_relative_file), cmocka_unit_test(test_settle),
        cmocka_unit_test(test_check),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
