/*
 * test_command.c - the command table, and dispatch with a store that is not
 * there: what is refused, what a failed turn does to replies.
 */
#include "state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// clang-format off
#include <cmocka.h>

// clang-format on

/* A store in a directory of its own, and one client. */
struct table {
    char dir[64];
    toon_store *store;
    server server;
    client client;
};

static void close_at_once(client *c) {
    c->close_after_reply = true;
}

static void shut_down(server *s) {
    s->shutting_down = true;
}

static void config_changed(server *s, toon_slice name) {
    (void)s;
    (void)name;
}

static int setup(void **state) {
    struct table *t = calloc(1, sizeof *t);
    config cfg;

    snprintf(t->dir, sizeof t->dir, "/tmp/toon-unit-XXXXXX");
    if (!mkdtemp(t->dir) || toon_open(t->dir, NULL, &t->store) != TOON_OK ||
        !config_init(&cfg))
        return -1;
    server_init(&t->server, t->store, &cfg);
    t->server.hooks = (server_hooks){close_at_once, shut_down, config_changed};
    client_init(&t->client, &t->server);
    client_add(&t->client);
    *state = t;
    return 0;
}

static int teardown(void **state) {
    struct table *t = *state;
    char cleanup[128];

    client_remove(&t->client);
    client_free(&t->client);
    server_free(&t->server);
    toon_close(t->store);
    snprintf(cleanup, sizeof cleanup, "rm -r %s", t->dir);
    if (system(cleanup) != 0)
        return -1;
    free(t);
    return 0;
}

/* Runs a command of words parted by spaces. */
static void run(struct table *t, const char *line) {
    toon_slice argv[16];
    size_t argc = 0;

    while (*line) {
        size_t size = strcspn(line, " ");

        argv[argc++] = toon_bytes(line, size);
        line += size + (line[size] == ' ');
    }
    dispatch(&t->client, argv, argc);
}

static void assert_replied(struct table *t, const char *expected) {
    reply *r = &t->client.out;

    assert_false(r->failed);
    assert_int_equal(r->size, strlen(expected));
    assert_memory_equal(r->data, expected, r->size);
    reply_clear(r);
    while (turn_take_writer(&t->server))
        continue;
    t->client.writes_count = 0;
}

static void the_table_is_sorted_and_whole(void **state) {
    (void)state;
    for (size_t i = 0; i < command_table_size; i++) {
        const command *cmd = &command_table[i];

        if (i > 0)
            assert_true(strcmp(command_table[i - 1].name, cmd->name) < 0);
        assert_true(cmd->run || cmd->subcommands);
        assert_true(cmd->arity != 0);
        assert_true(cmd->summary && cmd->summary[0] && cmd->since);
        assert_null(cmd->container);
        for (const command *sub = cmd->subcommands; sub && sub->name; sub++) {
            assert_string_equal(sub->container, cmd->name);
            assert_non_null(sub->run);
        }
    }
}

static void each_name_is_found_in_any_case_and_no_other(void **state) {
    command_index index;

    (void)state;
    command_index_init(&index);
    for (size_t i = 0; i < command_table_size; i++) {
        const command *cmd = &command_table[i];
        size_t size = strlen(cmd->name);
        char name[64];

        for (size_t j = 0; j <= size; j++)
            name[j] = (char)(j % 2 && cmd->name[j] >= 'a' ? cmd->name[j] - 32
                                                          : cmd->name[j]);
        assert_ptr_equal(command_index_find(&index, toon_str(name)), cmd);
        assert_ptr_equal(command_find(toon_str(name)), cmd);
        name[size] = 'q';
        assert_null(command_index_find(&index, toon_bytes(name, size + 1)));
        assert_null(command_find(toon_bytes(name, size + 1)));
    }
    assert_null(command_index_find(&index, toon_str("")));
    assert_null(command_find(toon_str("zzz")));
    assert_string_equal(command_find_full(toon_str("CLIENT|id"))->name, "id");
    assert_null(command_find_full(toon_str("client|nosuch")));
    assert_null(command_find_full(toon_str("nosuch|id")));
}

/* The places of the keys of a call of `argc` words, as digits. */
static void assert_keys(const char *name, size_t argc, const char *places) {
    const command *cmd = command_find_full(toon_str(name));
    char found[32] = "";
    size_t at = 0, key = 0, size = 0;

    while ((key = command_next_key(cmd, argc, &at)) != 0)
        found[size++] = (char)('0' + key);
    assert_string_equal(found, places);
}

static void keys_are_found_where_they_stand(void **state) {
    (void)state;
    assert_keys("get", 2, "1");
    assert_keys("del", 5, "1234");
    assert_keys("mset", 7, "135");
    assert_keys("rename", 3, "12");
    assert_keys("object|encoding", 3, "2");
    assert_keys("ping", 2, "");
    assert_keys("copy", 6, "12");
}

static void wrong_commands_get_the_words_of_redis(void **state) {
    struct table *t = *state;

    run(t, "GET");
    assert_replied(t, "-ERR wrong number of arguments for 'get' command\r\n");
    run(t, "client setname");
    assert_replied(
        t, "-ERR wrong number of arguments for 'client|setname' command\r\n");
    run(t, "client");
    assert_replied(t,
                   "-ERR wrong number of arguments for 'client' command\r\n");
    run(t, "Config nosuch x");
    assert_replied(t, "-ERR unknown subcommand 'nosuch'. Try CONFIG HELP.\r\n");
    run(t, "nosuch a b");
    assert_replied(t, "-ERR unknown command 'nosuch', with args beginning "
                      "with: 'a' 'b' \r\n");
    dispatch(&t->client, NULL, 0);
    assert_replied(t, "");
}

static void unknown_commands_are_shown_up_to_128_bytes(void **state) {
    struct table *t = *state;
    char name[129], args[129], line[400], expected[400];

    memset(name, 'n', 128);
    memset(args, 'a', 128);
    name[128] = args[128] = '\0';
    snprintf(line, sizeof line, "%sX %sX hidden", name, args);
    snprintf(expected, sizeof expected,
             "-ERR unknown command '%s', with args beginning with: '%s' \r\n",
             name, args);
    run(t, line);
    assert_replied(t, expected);
}

static void guests_may_only_greet(void **state) {
    struct table *t = *state;

    t->client.authenticated = false;
    run(t, "GET a");
    assert_replied(t, "-NOAUTH Authentication required.\r\n");
    run(t, "NOSUCH");
    assert_replied(t, "-ERR unknown command 'NOSUCH', with args beginning "
                      "with: \r\n");
    run(t, "QUIT");
    assert_replied(t, "+OK\r\n");
    assert_true(t->client.close_after_reply);
}

static void changes_are_remembered_until_the_turn_ends(void **state) {
    struct table *t = *state;

    turn_begin(&t->server);
    run(t, "SET a 1");
    run(t, "GET a");
    run(t, "INCR a");
    assert_int_equal(t->client.writes_count, 2);
    assert_ptr_equal(t->server.writers, &t->client);
    assert_int_equal(turn_end(&t->server), TOON_OK);
    assert_int_equal(t->client.writes_count, 0);
    assert_ptr_equal(turn_take_writer(&t->server), &t->client);
    assert_null(turn_take_writer(&t->server));
    assert_replied(t, "+OK\r\n$1\r\n1\r\n:2\r\n");
}

/* toon_gather_end() as it is when the disk fails: see --wrap in the build. */
toon_err __real_toon_gather_end(toon_store *store);
toon_err __wrap_toon_gather_end(toon_store *store);
static toon_err gather_result;

toon_err __wrap_toon_gather_end(toon_store *store) {
    toon_err err = __real_toon_gather_end(store);

    return err == TOON_OK ? gather_result : err;
}

static void a_failed_turn_takes_back_the_replies_to_changes(void **state) {
    struct table *t = *state;
    char *big = malloc(20000 + 8), *text = NULL;
    size_t size = 0;

    turn_begin(&t->server);
    memset(big, 'x', 20000 + 8);
    dispatch(&t->client,
             (toon_slice[]){toon_str("SET"), toon_str("big"),
                            toon_bytes(big, 20000)},
             3);
    assert_int_equal(turn_end(&t->server), TOON_OK);
    assert_replied(t, "+OK\r\n");
    turn_begin(&t->server);
    run(t, "PING");
    run(t, "SET a 1");
    run(t, "GET big");
    run(t, "GETSET big small");
    run(t, "ECHO hi");
    run(t, "DEL a b");
    assert_int_equal(t->client.out.pins_count, 2);
    gather_result = TOON_FULL;
    assert_int_equal(turn_end(&t->server), TOON_FULL);
    gather_result = TOON_OK;
    /* The value that was read is whole; what GETSET told is gone. */
    assert_int_equal(t->client.out.pins_count, 1);
    assert_int_equal(t->client.out.pinned_bytes, 20000);
    text = strndup(t->client.out.data, t->client.out.size);
    size = strlen("+PONG\r\n-ERR no space");
    assert_memory_equal(text, "+PONG\r\n-ERR no space", size);
    assert_non_null(strstr(text, "\r\n$20000\r\n\r\n-ERR no space"));
    assert_non_null(strstr(text, "\r\n$2\r\nhi\r\n-ERR no space"));
    assert_null(strstr(text, ":1\r\n"));
    free(text);
    free(big);
    while (turn_take_writer(&t->server))
        continue;
}

static void silent_clients_hear_nothing_of_a_failed_turn(void **state) {
    struct table *t = *state;

    turn_begin(&t->server);
    run(t, "CLIENT REPLY OFF");
    run(t, "SET a 1");
    gather_result = TOON_IO;
    assert_int_equal(turn_end(&t->server), TOON_IO);
    gather_result = TOON_OK;
    run(t, "CLIENT REPLY ON");
    assert_replied(t, "+OK\r\n");
}

static void failures_of_the_store_have_one_text_each(void **state) {
    struct table *t = *state;
    call c = {&t->server, &t->client, &t->client.out, NULL, NULL, 0};

    call_fail(&c, TOON_TOO_LARGE);
    assert_replied(t, "-ERR string exceeds maximum allowed size "
                      "(proto-max-bulk-len)\r\n");
    call_fail(&c, TOON_READ_ONLY);
    assert_memory_equal(t->client.out.data, "-MISCONF ", 9);
    reply_clear(&t->client.out);
    call_fail(&c, TOON_CORRUPT);
    assert_memory_equal(t->client.out.data, "-ERR damaged record", 19);
    reply_clear(&t->client.out);
    for (int err = TOON_OK; err <= TOON_VERSION; err++) {
        call_fail(&c, (toon_err)err);
        assert_int_equal(t->client.out.data[0], '-');
        reply_clear(&t->client.out);
    }
}

static void clients_without_replies_still_run_commands(void **state) {
    struct table *t = *state;

    run(t, "CLIENT REPLY OFF");
    run(t, "SET a 5");
    run(t, "CLIENT REPLY ON");
    run(t, "CLIENT REPLY SKIP");
    run(t, "INCR a");
    run(t, "GET a");
    assert_replied(t, "+OK\r\n$1\r\n6\r\n");
}

static void passwords_fit_whole_or_not_at_all(void **state) {
    struct table *t = *state;
    char error[CONFIG_ERROR_TEXT];

    assert_true(config_set(&t->server.config, toon_str("requirepass"),
                           toon_str("secret"), error));
    assert_true(password_fits(&t->server, toon_str("secret")));
    assert_false(password_fits(&t->server, toon_str("secre")));
    assert_false(password_fits(&t->server, toon_str("secrets")));
    assert_false(password_fits(&t->server, toon_str("secretsecret")));
    assert_false(password_fits(&t->server, toon_str("")));
    assert_false(password_fits(&t->server, toon_bytes("secret\0", 7)));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_sorted_and_whole),
        cmocka_unit_test(each_name_is_found_in_any_case_and_no_other),
        cmocka_unit_test(keys_are_found_where_they_stand),
        CASE(wrong_commands_get_the_words_of_redis),
        CASE(unknown_commands_are_shown_up_to_128_bytes),
        CASE(guests_may_only_greet),
        CASE(changes_are_remembered_until_the_turn_ends),
        CASE(a_failed_turn_takes_back_the_replies_to_changes),
        CASE(silent_clients_hear_nothing_of_a_failed_turn),
        CASE(failures_of_the_store_have_one_text_each),
        CASE(clients_without_replies_still_run_commands),
        CASE(passwords_fit_whole_or_not_at_all),
    };

    return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
