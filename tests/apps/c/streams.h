/* For faults.c and handing.c: sockets, the messages on them, and the pattern that all bodies are. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static int non_blocking;
/* Blocking calls that said EAGAIN: Linux does that to members of a sockmap which a signal interrupts. */
static atomic_long surprised;

struct stream {
    int fd;
    size_t used;
    char buffer[65536];
};

static unsigned char pattern(size_t at) { return (unsigned char)(at ^ (at >> 8) ^ (at >> 15)); }

static int ready(int fd, short events) {
    if (!non_blocking) atomic_fetch_add(&surprised, 1);
    struct pollfd wanted = {.fd = fd, .events = events};
    int found = poll(&wanted, 1, 60000);
    return found > 0 || (found < 0 && errno == EINTR) ? 0 : -1;
}

/* As send() and recv(), but for what signals and non-blocking sockets make of them. */
static ssize_t put(int fd, const void *bytes, size_t length) {
    for (;;) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent >= 0) return sent;
        if (errno == EAGAIN && ready(fd, POLLOUT) == 0) continue;
        if (errno != EINTR) return -1;
    }
}

static ssize_t get(int fd, void *bytes, size_t room) {
    for (;;) {
        ssize_t got = recv(fd, bytes, room, 0);
        if (got >= 0) return got;
        if (errno == EAGAIN && ready(fd, POLLIN) == 0) continue;
        if (errno != EINTR) return -1;
    }
}

static int put_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = put(fd, bytes, length);
        if (sent <= 0) return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static void prepare(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (non_blocking) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static int dial(const struct sockaddr_in *peer) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (fd >= 0 && connect(fd, (const struct sockaddr *)peer, sizeof *peer) < 0) {
        if (errno == EISCONN) break;
        if (errno == EINTR || errno == EALREADY) continue;
        close(fd);
        return -1;
    }
    if (fd >= 0) prepare(fd);
    return fd;
}

static char *read_head(struct stream *in, char *head, size_t room) {
    char *end;
    while (!(end = memmem(in->buffer, in->used, "\r\n\r\n", 4))) {
        if (in->used == sizeof in->buffer) return "the head is too long";
        ssize_t got = get(in->fd, in->buffer + in->used, sizeof in->buffer - in->used);
        if (got < 0) return "failed to read a head";
        if (got == 0) return in->used ? "the connection ended within a head" : "";
        in->used += (size_t)got;
    }
    size_t length = (size_t)(end - in->buffer) + 4;
    if (length >= room) return "the head is too long";
    memcpy(head, in->buffer, length);
    head[length] = 0;
    in->used -= length;
    memmove(in->buffer, in->buffer + length, in->used);
    return NULL;
}

/* Reads a body of `length` bytes; says what is wrong with it. */
static char *read_body(struct stream *in, long length) {
    static __thread char said[128];
    long at = 0;
    while (at < length) {
        if (in->used == 0) {
            ssize_t got = get(in->fd, in->buffer, sizeof in->buffer);
            if (got <= 0) {
                snprintf(said, sizeof said, "byte %ld of %ld: %s", at, length, got ? strerror(errno) : "the end");
                return said;
            }
            in->used = (size_t)got;
        }
        size_t part = in->used < (size_t)(length - at) ? in->used : (size_t)(length - at);
        for (size_t i = 0; i < part; i++)
            if ((unsigned char)in->buffer[i] != pattern((size_t)at + i)) {
                snprintf(said, sizeof said, "byte %ld of %ld is another one", at + (long)i, length);
                return said;
            }
        in->used -= part;
        memmove(in->buffer, in->buffer + part, in->used);
        at += (long)part;
    }
    return NULL;
}

static long length_of(const char *head) {
    const char *field = strcasestr(head, "\r\nContent-Length:");
    return field ? atol(field + 17) : 0;
}
