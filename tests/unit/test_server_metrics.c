/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of metrics.c: the text, on tables of their own, and the shape of the real one. */
#include "server_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "metrics.h"

struct row {
    const char *colour, *size;
    uint64_t sold;
    uint32_t stock;
};

struct about {
    const char *name;
    const char *maker;
};

struct shop {
    uint64_t visits;
    uint32_t open_doors;
    uint64_t till_bytes;
    const struct row *rows;
    size_t rows_count;
    struct histogram queue;
    struct about about;
    uint64_t secret;
};

#define PLAIN(of, member)                                                                          \
    .name = #member, .offset = offsetof(struct of, member), .has_offset = NO_OFFSET

static const struct metric sold = {
    .family = "shop_sold", .type = METRIC_COUNTER, .help = "Things that were sold."};
static const struct metric stock = {
    .family = "shop_stock", .type = METRIC_GAUGE, .help = "Things that are there."};
static const struct field row_fields[] = {
    {PLAIN(row, colour), .kind = FIELD_STRING},
    {PLAIN(row, size), .kind = FIELD_STRING},
    {PLAIN(row, sold), .kind = FIELD_U64, .metric = &sold},
    {PLAIN(row, stock), .kind = FIELD_U32, .metric = &stock},
};
static const struct type row_type = {
    .name = "row", .size = sizeof(struct row), .fields = row_fields, .count = 4};
static const struct field row_item = {
    .kind = FIELD_OBJECT, .has_offset = NO_OFFSET, .type = &row_type};

static const struct field about_fields[] = {
    {PLAIN(about, name), .kind = FIELD_STRING},
    {PLAIN(about, maker), .kind = FIELD_STRING},
};
static const struct type about_type = {
    .name = "about", .size = sizeof(struct about), .fields = about_fields, .count = 2};

static const struct metric visits = {
    .family = "shop_visits", .type = METRIC_COUNTER, .help = "Said \"hello\",\nby \\o/."};
static const struct metric open_doors = {
    .family = "shop_open_doors", .type = METRIC_GAUGE, .help = "Doors."};
static const struct metric till_bytes = {
    .family = "shop_till_bytes", .type = METRIC_COUNTER, .unit = "bytes", .help = "Bytes."};
static const struct metric queue = {.family = "shop_queue_seconds",
                                    .type = METRIC_HISTOGRAM,
                                    .unit = "seconds",
                                    .help = "Time in line."};
static const struct metric about = {
    .family = "shop_build_info", .type = METRIC_INFO, .help = "The shop."};

/* Has one of each, and one that is not for scrapers. */
static const struct field shop_fields[] = {
    {PLAIN(shop, visits), .kind = FIELD_U64, .metric = &visits},
    {PLAIN(shop, open_doors), .kind = FIELD_U32, .metric = &open_doors},
    {PLAIN(shop, till_bytes), .kind = FIELD_U64, .metric = &till_bytes},
    {PLAIN(shop, rows), .kind = FIELD_ARRAY, .count_offset = offsetof(struct shop, rows_count),
     .item = &row_item, .item_size = sizeof(struct row)},
    {PLAIN(shop, queue), .kind = FIELD_OBJECT, .metric = &queue, .type = &type_histogram},
    {PLAIN(shop, about), .kind = FIELD_OBJECT, .metric = &about, .type = &about_type},
    {PLAIN(shop, secret), .kind = FIELD_U64},
};
static const struct type shop_type = {
    .name = "shop", .size = sizeof(struct shop), .fields = shop_fields, .count = 7};

static char *print(const struct shop *shop, size_t limit, int *ret_error)
{
    struct out out;

    out_init(&out, limit, NULL);
    metrics_put_object(&shop_type, shop, &out);
    *ret_error = out.error;
    char *text = rig_text(&out, NULL);
    out_done(&out);
    return text;
}

static void test_text(void **state)
{
    static const struct row rows[] = {{"red", "S", 3, 4}, {"\"\\\n", "", UINT64_MAX, UINT32_MAX}};
    static const struct histogram_bucket buckets[] = {
        {50000, 1}, {1000000, 3}, {2500000000, 3}, {30000000000, 4}};
    const struct shop shop = {
        .visits = 12,
        .open_doors = 2,
        .till_bytes = 0,
        .rows = rows,
        .rows_count = 2,
        .queue = {.count = 5, .sum_ns = 61000000001, .buckets = buckets, .buckets_count = 4},
        .about = {"corner", "A \"B\" \\ C"},
        .secret = 99,
    };
    int error;

    (void)state;
    char *text = print(&shop, SIZE_MAX, &error);
    assert_int_equal(error, 0);
    assert_string_equal(text, "# TYPE shop_visits counter\n"
                              "# HELP shop_visits Said \\\"hello\\\",\\nby \\\\o/.\n"
                              "shop_visits_total 12\n"
                              "# TYPE shop_open_doors gauge\n"
                              "# HELP shop_open_doors Doors.\n"
                              "shop_open_doors 2\n"
                              "# TYPE shop_till_bytes counter\n"
                              "# UNIT shop_till_bytes bytes\n"
                              "# HELP shop_till_bytes Bytes.\n"
                              "shop_till_bytes_total 0\n"
                              "# TYPE shop_sold counter\n"
                              "# HELP shop_sold Things that were sold.\n"
                              "shop_sold_total{colour=\"red\",size=\"S\"} 3\n"
                              "shop_sold_total{colour=\"\\\"\\\\\\n\",size=\"\"} "
                              "18446744073709551615\n"
                              "# TYPE shop_stock gauge\n"
                              "# HELP shop_stock Things that are there.\n"
                              "shop_stock{colour=\"red\",size=\"S\"} 4\n"
                              "shop_stock{colour=\"\\\"\\\\\\n\",size=\"\"} 4294967295\n"
                              "# TYPE shop_queue_seconds histogram\n"
                              "# UNIT shop_queue_seconds seconds\n"
                              "# HELP shop_queue_seconds Time in line.\n"
                              "shop_queue_seconds_bucket{le=\"0.00005\"} 1\n"
                              "shop_queue_seconds_bucket{le=\"0.001\"} 3\n"
                              "shop_queue_seconds_bucket{le=\"2.5\"} 3\n"
                              "shop_queue_seconds_bucket{le=\"30.0\"} 4\n"
                              "shop_queue_seconds_bucket{le=\"+Inf\"} 5\n"
                              "shop_queue_seconds_count 5\n"
                              "shop_queue_seconds_sum 61.000000001\n"
                              "# TYPE shop_build_info gauge\n"
                              "# HELP shop_build_info The shop.\n"
                              "shop_build_info{name=\"corner\",maker=\"A \\\"B\\\" \\\\ C\"} 1\n");
    free(text);
}

/* Nothing counted yet: the families are there all the same. */
static void test_empty(void **state)
{
    const struct shop shop = {.about = {"", ""}};
    int error;

    (void)state;
    char *text = print(&shop, SIZE_MAX, &error);
    assert_int_equal(error, 0);
    assert_non_null(strstr(text, "# HELP shop_sold Things that were sold.\n# TYPE shop_stock"));
    assert_non_null(strstr(text, "shop_queue_seconds_bucket{le=\"+Inf\"} 0\n"
                                 "shop_queue_seconds_count 0\n"
                                 "shop_queue_seconds_sum 0.0\n"));
    free(text);
}

static void test_error_sticks(void **state)
{
    const struct shop shop = {.about = {"", ""}};
    int error;

    (void)state;
    char *text = print(&shop, 50, &error);
    assert_int_equal(error, -EMSGSIZE);
    free(text);
}

/* --- the real one --- */

/* What the line is of: the name up to its labels or its value, without what the type adds. */
static void family_of(const char *line, const char *type, char *ret_family, size_t size)
{
    static const char *const ends[] = {"_bucket", "_count", "_sum", "_total"};
    size_t length = strcspn(line, "{ ");

    assert_true(length < size);
    memcpy(ret_family, line, length);
    ret_family[length] = '\0';
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        size_t end = strlen(ends[i]);
        bool may = strcmp(type, i == 3 ? "counter" : "histogram") == 0;
        if (may && length > end && strcmp(ret_family + length - end, ends[i]) == 0) {
            ret_family[length - end] = '\0';
            return;
        }
    }
    assert_string_equal(type, "gauge");
}

/* Each family: its type, its unit if it ends in one, its help, then its samples, never again. */
static void test_all(void **state)
{
    struct rig rig;
    struct stats stats;
    struct out out;
    char family[128] = "";
    char type[16] = "";
    char again[160];
    size_t samples = 0;
    char *at = NULL;

    (void)state;
    rig_init(&rig);
    stats_read(&rig.dispatcher, &stats);
    out_init(&out, SIZE_MAX, NULL);
    metrics_put(&stats, &out);
    assert_int_equal(out.error, 0);
    char *text = rig_text(&out, NULL);
    char *copy = strdup(text);
    assert_true(strlen(text) > 6);
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    for (char *line = strtok_r(copy, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
        char name[128];
        if (sscanf(line, "# TYPE %127s %15s", name, type) == 2) {
            (void)snprintf(again, sizeof(again), "# TYPE %s ", name);
            assert_null(strstr(strstr(text, again) + 1, again));
            (void)strcpy(family, name);
            bool unit = strstr(family, "_bytes") || strstr(family, "_seconds");
            line = strtok_r(NULL, "\n", &at);
            if (unit) {
                assert_int_equal(sscanf(line, "# UNIT %127s", name), 1);
                assert_string_equal(name, family);
                assert_string_equal(strrchr(line, ' ') + 1, strrchr(family, '_') + 1);
                line = strtok_r(NULL, "\n", &at);
            }
            assert_int_equal(sscanf(line, "# HELP %127s", name), 1);
            assert_string_equal(name, family);
        } else if (line[0] != '#') {
            samples++;
            family_of(line, type, name, sizeof(name));
            assert_string_equal(name, family);
        }
    }
    assert_true(samples / 2 > METHOD_COUNT);
    assert_non_null(strstr(text, "\ndmrpc_calls_total{method=\"version\"} 0\n"));
    assert_non_null(strstr(text, "\ndmrpc_errors_total{error=\"parse_error\"} 0\n"));
    assert_non_null(strstr(text, "\ndmrpc_connections{protocol=\"http\"} 0\n"));
    assert_non_null(strstr(text, "\ndmrpc_workers_limit 128\n"));
    assert_non_null(strstr(text, ",backend=\"simulated\"} 1\n"));
    free(copy);
    free(text);
    rig_done(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_error_sticks),
        cmocka_unit_test(test_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
