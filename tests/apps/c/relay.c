/* A relay with one blocking thread per connection: GET or POST /relay?id=ID&n=K calls
 * $BACKEND/out/ID/1 … K and answers with the length of each reply, one a line.
 * $BACKEND_KEEP_ALIVE=1 keeps one backend connection per thread. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static struct sockaddr_in backend;
static int keep_alive;

struct stream {
    int fd;
    size_t used; /* bytes in buffer that were read but not consumed */
    char buffer[32768];
};

static int send_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, 0);
        if (sent <= 0) return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static void consume(struct stream *stream, size_t length) {
    memmove(stream->buffer, stream->buffer + length, stream->used - length);
    stream->used -= length;
}

static int fill(struct stream *stream) {
    if (stream->used == sizeof stream->buffer) return -1;
    ssize_t got = recv(stream->fd, stream->buffer + stream->used, sizeof stream->buffer - stream->used, 0);
    if (got <= 0) return -1;
    stream->used += (size_t)got;
    return 0;
}

/* Reads one head and its body; copies the head, returns the body's length or -1 at the end of the stream. */
static long read_message(struct stream *stream, char *head, size_t room) {
    char *end;
    while (!(end = memmem(stream->buffer, stream->used, "\r\n\r\n", 4)))
        if (fill(stream) < 0) return -1;
    size_t length = (size_t)(end - stream->buffer) + 4;
    if (length >= room) return -1;
    memcpy(head, stream->buffer, length);
    head[length] = 0;
    consume(stream, length);
    const char *field = strcasestr(head, "\r\nContent-Length:");
    long body = field ? atol(field + 17) : 0, left = body;
    while (left > 0) {
        if (stream->used == 0 && fill(stream) < 0) return -1;
        size_t part = stream->used < (size_t)left ? stream->used : (size_t)left;
        consume(stream, part);
        left -= (long)part;
    }
    return body;
}

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&backend, sizeof backend) < 0) {
        if (fd >= 0) close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static long call(struct stream *out, const char *id, long k) {
    char head[32768];
    if (out->fd < 0) {
        out->used = 0;
        if ((out->fd = dial()) < 0) return -1;
    }
    int length = snprintf(head, sizeof head, "GET /out/%s/%ld HTTP/1.1\r\nHost: backend\r\nConnection: %s\r\n\r\n", id, k,
                          keep_alive ? "keep-alive" : "close");
    long body = send_all(out->fd, head, (size_t)length) < 0 ? -1 : read_message(out, head, sizeof head);
    if (!keep_alive || body < 0) {
        close(out->fd);
        out->fd = -1;
    }
    return body;
}

static int serve_one(struct stream *in, struct stream *out) {
    static __thread char head[32768];
    char id[128] = "", answer[512], lengths[256];
    if (read_message(in, head, sizeof head) < 0) return -1;
    int closing = strcasestr(head, "\r\nConnection: close") != NULL;
    const char *at = strstr(head, "id="), *count = strstr(head, "n=");
    if (at) sscanf(at + 3, "%127[^& ]", id);
    int used = 0, failed = 0;
    for (long k = 1, n = count ? atol(count + 2) : 1; k <= n && k <= 16; k++) {
        long body = call(out, id, k);
        failed |= body < 0;
        used += snprintf(lengths + used, sizeof lengths - (size_t)used, "%ld\n", body);
    }
    int length = snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%.*s",
                          failed ? "502 Bad Gateway" : "200 OK", used, closing ? "close" : "keep-alive", used, lengths);
    return send_all(in->fd, answer, (size_t)length) < 0 || closing ? -1 : 0;
}

static void *serve(void *argument) {
    struct stream *in = calloc(1, sizeof *in), *out = calloc(1, sizeof *out);
    in->fd = (int)(intptr_t)argument;
    out->fd = -1;
    while (serve_one(in, out) == 0)
        ;
    if (out->fd >= 0) close(out->fd);
    close(in->fd);
    free(in);
    free(out);
    return NULL;
}

int main(void) {
    const char *url = getenv("BACKEND"), *port = getenv("PORT"), *keep = getenv("BACKEND_KEEP_ALIVE");
    char host[64] = "";
    int backend_port = 0, on = 1;
    if (!url || !port || sscanf(url, "http://%63[0-9.]:%d", host, &backend_port) != 2) return 2;
    keep_alive = keep && *keep == '1';
    backend = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)backend_port)};
    inet_pton(AF_INET, host, &backend.sin_addr);
    signal(SIGPIPE, SIG_IGN);

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 256) < 0) return 3;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        pthread_t thread;
        pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd);
        pthread_detach(thread);
    }
}
