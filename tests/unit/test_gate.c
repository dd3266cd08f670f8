/*
 * test_gate.c - a server with a gate: replies to changes wait until it lets
 * them, and nothing else does.
 */
#include "server.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

// clang-format off
#include <cmocka.h>
// clang-format on

#define SHORT_MS 100 /* long enough for a reply that is not held back */
#define LONG_MS  30000

struct gate {
    char dir[64];
    toon_store *store;
    server *server;
    pthread_t thread;
    _Atomic uint64_t queued, told;
};

static uint64_t read_queued(void *arg) {
    return atomic_load(&((struct gate *)arg)->queued);
}

static uint64_t read_told(void *arg) {
    return atomic_load(&((struct gate *)arg)->told);
}

static void *serve(void *arg) {
    server_run(arg);
    return NULL;
}

static bool start(struct gate *g) {
    char error[CONFIG_ERROR_TEXT], port[8];

    for (int number = 20000 + (int)getpid() % 20000; number < 60000; number++) {
        config cfg;

        (void)snprintf(port, sizeof port, "%d", number);
        if (!config_init(&cfg) ||
            !config_set(&cfg, toon_str("port"), toon_str(port), error) ||
            !config_set(&cfg, toon_str("bind"), toon_str("127.0.0.1"), error) ||
            !config_set(&cfg, toon_str("loglevel"), toon_str("warning"), error))
            return false;
        g->server = server_new(g->store, &cfg, error);
        config_free(&cfg);
        if (g->server)
            return true;
    }
    return false;
}

static int setup(void **state) {
    struct gate *g = calloc(1, sizeof *g);

    *state = g;
    (void)snprintf(g->dir, sizeof g->dir, "/tmp/toon-unit-XXXXXX");
    if (!mkdtemp(g->dir) || toon_open(g->dir, NULL, &g->store) != TOON_OK ||
        !start(g))
        return -1;
    server_set_gate(g->server, (server_gate){read_queued, read_told, g});
    return pthread_create(&g->thread, NULL, serve, g->server);
}

static int connect_to(struct gate *g) {
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons((uint16_t)server_port(g->server)),
    };
    const void *to = &address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, to, sizeof address), 0);
    return fd;
}

static void say(int fd, const char *text) {
    assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
}

static bool has_answer(int fd, int patience_ms) {
    struct pollfd wanted = {.fd = fd, .events = POLLIN};

    return poll(&wanted, 1, patience_ms) == 1;
}

static void assert_answer(int fd, const char *expected) {
    char text[256];
    size_t at = 0, size = strlen(expected);

    while (at < size) {
        ssize_t got = 0;

        assert_true(has_answer(fd, LONG_MS));
        got = recv(fd, text + at, size - at, 0);
        assert_true(got > 0);
        at += (size_t)got;
    }
    assert_memory_equal(text, expected, size);
}

static int teardown(void **state) {
    struct gate *g = *state;
    char cleanup[128];
    int fd = connect_to(g);

    say(fd, "SHUTDOWN\r\n");
    if (pthread_join(g->thread, NULL) != 0 || toon_close(g->store) != TOON_OK)
        return -1;
    server_delete(g->server);
    close(fd);
    (void)snprintf(cleanup, sizeof cleanup, "rm -r %s", g->dir);
    if (system(cleanup) != 0)
        return -1;
    free(g);
    return 0;
}

static void let(struct gate *g, uint64_t told) {
    atomic_store(&g->told, told);
    server_gate_moved(g->server);
}

static void an_open_gate_holds_nothing_back(void **state) {
    struct gate *g = *state;
    int fd = connect_to(g);

    say(fd, "SET a 1\r\nGET a\r\n");
    assert_answer(fd, "+OK\r\n$1\r\n1\r\n");
    close(fd);
}

static void a_reply_to_a_change_waits_for_its_ticket(void **state) {
    struct gate *g = *state;
    int writer = connect_to(g), reader = connect_to(g);

    atomic_store(&g->queued, 7);
    say(writer, "SET a 1\r\n");
    assert_false(has_answer(writer, SHORT_MS));
    /* Later output of the same connection stays behind it. */
    say(writer, "PING\r\n");
    assert_false(has_answer(writer, SHORT_MS));
    /* Others, which changed nothing, do not wait. */
    say(reader, "GET a\r\n");
    assert_answer(reader, "$1\r\n1\r\n");
    let(g, 6);
    assert_false(has_answer(writer, SHORT_MS));
    let(g, 7);
    assert_answer(writer, "+OK\r\n+PONG\r\n");
    close(writer);
    close(reader);
}

static void a_client_that_leaves_while_it_waits_does_no_harm(void **state) {
    struct gate *g = *state;
    int first = connect_to(g), second = connect_to(g), third = -1;

    atomic_store(&g->queued, 3);
    say(first, "SET a 1\r\n");
    say(second, "SET b 1\r\nQUIT\r\n");
    assert_false(has_answer(first, SHORT_MS));
    close(first);
    third = connect_to(g);
    say(third, "SET c 1\r\n");
    assert_false(has_answer(third, SHORT_MS));
    let(g, 3);
    assert_answer(second, "+OK\r\n+OK\r\n");
    assert_answer(third, "+OK\r\n");
    close(second);
    close(third);
}

static void many_changes_pass_as_the_gate_moves(void **state) {
    struct gate *g = *state;
    int fd = connect_to(g);

    for (uint64_t round = 1; round <= 200; round++) {
        atomic_store(&g->queued, round);
        say(fd, "INCR n\r\nPING\r\n");
        let(g, round);
        assert_true(has_answer(fd, LONG_MS));
        while (has_answer(fd, 0)) {
            char text[64];

            assert_true(recv(fd, text, sizeof text, 0) > 0);
        }
    }
    close(fd);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(an_open_gate_holds_nothing_back),
        CASE(a_reply_to_a_change_waits_for_its_ticket),
        CASE(a_client_that_leaves_while_it_waits_does_no_harm),
        CASE(many_changes_pass_as_the_gate_moves),
    };

    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
