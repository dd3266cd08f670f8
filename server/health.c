/*
 * health.c - is a server of this configuration alive? A client of a few
 * lines, for `tstd --health` and so for containers. Knows sockets and PING.
 */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_S 2

static int open_socket(int family) {
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

static int connected(int fd, const void *address, socklen_t size) {
    if (fd >= 0 && connect(fd, address, size) != 0) {
        int why = errno;

        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

/* The first address that the server listens on. */
static int connect_tcp(const config *cfg) {
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    char host[128];
    const char *from = cfg->bind + strspn(cfg->bind, " -");

    (void)snprintf(host, sizeof host, "%.*s", (int)strcspn(from, " "), from);
    four.sin_port = six.sin6_port = htons((uint16_t)cfg->port);
    if (inet_pton(AF_INET6, host, &six.sin6_addr) == 1) {
        if (IN6_IS_ADDR_UNSPECIFIED(&six.sin6_addr))
            six.sin6_addr = in6addr_loopback;
        return connected(open_socket(AF_INET6), &six, sizeof six);
    }
    if (inet_pton(AF_INET, host, &four.sin_addr) != 1 ||
        four.sin_addr.s_addr == htonl(INADDR_ANY))
        four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connected(open_socket(AF_INET), &four, sizeof four);
}

static int connect_unix(const config *cfg) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s",
                   cfg->unixsocket);
    return connected(open_socket(AF_UNIX), &address, sizeof address);
}

/* AUTH, if there is a password, and PING; what is answered. */
static bool ask(int fd, const char *password, char *answer, size_t capacity) {
    size_t size = strlen(password), at = 0;
    char *request = malloc(size + 64);
    int length = 0;
    bool sent = false;

    if (!request)
        return false;
    if (size > 0)
        length = sprintf(request, "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", size,
                         password);
    length += sprintf(request + length, "*1\r\n$4\r\nPING\r\n");
    sent = send(fd, request, (size_t)length, MSG_NOSIGNAL) == length;
    free(request);
    while (sent && at < capacity - 1) {
        ssize_t got = recv(fd, answer + at, capacity - 1 - at, 0);

        if (got <= 0)
            break;
        at += (size_t)got;
        answer[at] = '\0';
        if (strstr(answer, "+PONG\r\n"))
            return true;
        if (answer[0] == '-' && strchr(answer, '\n'))
            break;
    }
    answer[at] = '\0';
    return false;
}

int health_check(const config *cfg) {
    bool is_tcp = cfg->port != 0;
    int fd = is_tcp ? connect_tcp(cfg) : connect_unix(cfg);
    char answer[256] = "";
    bool alive = false;

    if (fd < 0) {
        (void)fprintf(stderr, "tstd: no server answers: %s\n",
                      strerrordesc_np(errno));
        return 1;
    }
    alive = ask(fd, cfg->requirepass, answer, sizeof answer);
    close(fd);
    if (alive)
        return 0;
    (void)fprintf(stderr, "tstd: the server is not well: %.*s\n",
                  (int)strcspn(answer, "\r\n"),
                  answer[0] ? answer : "no answer");
    return 1;
}
